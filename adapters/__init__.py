"""The world: Postgres, Temporal, models, blobs, subprocesses, telemetry."""

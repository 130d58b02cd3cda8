#!/bin/sh
# Creates Temporal's two databases and brings their schema to this version. Runs again without harm.
set -eu

prepare() {
    tool="temporal-sql-tool --plugin $DB --endpoint $POSTGRES_SEEDS --port $DB_PORT --user $POSTGRES_USER --database $1"
    $tool create-database
    $tool setup-schema -v 0.0  # leaves a schema that is further alone
    $tool update-schema -d "/etc/temporal/schema/postgresql/v12/$2/versioned"
}

prepare temporal temporal
prepare temporal_visibility visibility

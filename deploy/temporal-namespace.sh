#!/bin/sh
# Registers the namespace and the search attributes. Runs again without harm. TEMPORAL_ADDRESS says where.
set -eu

namespace=${TEMPORAL_NAMESPACE:-default}

# Try for a minute: the server is still starting, or has not seen the new namespace in all its parts.
persist() {
    attempts=60
    until "$@"; do
        attempts=$((attempts - 1))
        [ "$attempts" -gt 0 ] || { echo "Gave up: $*" >&2; return 1; }
        sleep 1
    done
}

persist temporal operator cluster health
temporal operator namespace describe --namespace "$namespace" >/dev/null 2>&1 ||
    temporal operator namespace create --namespace "$namespace" --retention "${TEMPORAL_RETENTION:-168h}"
for name in OwnerId BotId DocumentId Stage; do
    persist temporal operator search-attribute create --namespace "$namespace" --name "$name" --type Keyword
done

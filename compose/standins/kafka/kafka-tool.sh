#!/bin/bash
# One of Kafka's tools: the class that the file beside its name names.
KAFKA_HEAP_OPTS=-Xmx128m exec "${0%/*}/kafka-run-class.sh" "$(<"${0%.sh}.class")" "$@"

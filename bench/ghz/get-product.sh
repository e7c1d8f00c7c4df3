#!/usr/bin/env bash
# Reads products over gRPC with ghz, 80 % of them among the first 20, and prints ghz's JSON.
#
#   bench/ghz/get-product.sh > get-product.json
#
# ADDR=127.0.0.1:50051  CONCURRENCY=64  TOTAL=10000  CONNECTIONS=4
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# randomInt leaves out its upper end. ghz takes data without a plain {{action}} for constant, so no {{if}}.
run_ghz ecom.product.v1.ProductService.GetProduct \
  '{"product_id":"{{ternary (randomInt 1 21) (randomInt 21 101) (lt (randomInt 0 10) 8)}}"}'

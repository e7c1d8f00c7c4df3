#!/usr/bin/env bash
# Asks for a coupon over gRPC with ghz, each call for another user, and prints ghz's JSON.
#
#   bench/ghz/issue-coupon.sh > issue-coupon.json
#
# ADDR=127.0.0.1:50051  CONCURRENCY=64  TOTAL=10000  CONNECTIONS=4  COUPON_ID=1
# USER_BASE=1000000000: users are USER_BASE + 0, + 1, …; another base for another run on the same data.
# A sold out or a duplicate counts as FailedPrecondition or AlreadyExists in statusCodeDistribution.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

run_ghz ecom.coupon.v1.CouponService.IssueCoupon \
  "{\"coupon_id\":\"${COUPON_ID:-1}\",\"user_id\":\"{{add .RequestNumber ${USER_BASE:-1000000000}}}\"}"

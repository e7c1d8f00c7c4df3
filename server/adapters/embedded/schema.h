#pragma once

#include <cstdint>

namespace ecom::adapters::embedded {

/// Stands in the header of each data file of ours: "ecom" in ASCII.
inline constexpr uint32_t kApplicationId = 0x65636f6d;

/// The version of kSchema; a file of a higher one is refused.
inline constexpr uint32_t kSchemaVersion = 4;

/// Brings a file of version 1 to version 2, in one transaction.
inline constexpr char kMigrationTo2[] = R"sql(
BEGIN;
ALTER TABLE coupons ADD COLUMN gate_home TEXT NOT NULL DEFAULT '';
CREATE TABLE gate_barriers (
  coupon_id INTEGER NOT NULL,
  log_partition INTEGER NOT NULL,
  gate_generation INTEGER NOT NULL,
  PRIMARY KEY (coupon_id, log_partition)
) WITHOUT ROWID;
INSERT INTO gate_barriers SELECT id, 0, passed_barrier FROM coupons WHERE passed_barrier > 0;
ALTER TABLE coupons DROP COLUMN passed_barrier;
CREATE TABLE log_partitions (
  log_partition INTEGER PRIMARY KEY,
  recorded INTEGER NOT NULL,
  announced INTEGER NOT NULL
);
CREATE TABLE dead_letters (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  log_position INTEGER NOT NULL,
  reason TEXT NOT NULL,
  key TEXT NOT NULL,
  payload TEXT NOT NULL
);
PRAGMA user_version = 2;
COMMIT;
)sql";

/// Brings a file of version 2 to version 3, in one transaction.
inline constexpr char kMigrationTo3[] = R"sql(
BEGIN;
ALTER TABLE products ADD COLUMN version INTEGER NOT NULL DEFAULT 0;
CREATE INDEX products_by_version ON products (version);
PRAGMA user_version = 3;
COMMIT;
)sql";

/// Brings a file of version 3 to version 4, in one transaction.
inline constexpr char kMigrationTo4[] = R"sql(
BEGIN;
ALTER TABLE claim_log ADD COLUMN trace_parent TEXT NOT NULL DEFAULT '';
PRAGMA user_version = 4;
COMMIT;
)sql";

/// Makes an empty data file. Times are microseconds since 1970 UTC, money is hundredths of a won.
inline constexpr char kSchema[] = R"sql(
BEGIN;
PRAGMA application_id = 0x65636f6d;
PRAGMA user_version = 4;

CREATE TABLE coupons (
  id INTEGER PRIMARY KEY CHECK (id > 0),
  name TEXT NOT NULL,
  total_quantity INTEGER NOT NULL CHECK (total_quantity >= 0),
  available_quantity INTEGER NOT NULL CHECK (available_quantity >= 0),
  starts_at_us INTEGER NOT NULL,
  ends_at_us INTEGER NOT NULL,
  incarnation TEXT NOT NULL DEFAULT (lower(hex(randomblob(16)))),
  gate_generation INTEGER NOT NULL DEFAULT 0,
  gate_home TEXT NOT NULL DEFAULT ''
);

-- The last barrier of a coupon that the recorder has passed in a partition of the log.
CREATE TABLE gate_barriers (
  coupon_id INTEGER NOT NULL,
  log_partition INTEGER NOT NULL,
  gate_generation INTEGER NOT NULL,
  PRIMARY KEY (coupon_id, log_partition)
) WITHOUT ROWID;

-- How far each partition of the log is recorded, and how far that is published.
CREATE TABLE log_partitions (
  log_partition INTEGER PRIMARY KEY,
  recorded INTEGER NOT NULL,
  announced INTEGER NOT NULL
);

CREATE TABLE coupon_issues (
  coupon_id INTEGER NOT NULL,
  user_id INTEGER NOT NULL,
  request_id TEXT NOT NULL,
  issued_at_us INTEGER NOT NULL,
  PRIMARY KEY (coupon_id, user_id)
) WITHOUT ROWID;

CREATE TABLE coupon_rejections (
  coupon_id INTEGER NOT NULL,
  user_id INTEGER NOT NULL,
  request_id TEXT NOT NULL,
  reason TEXT NOT NULL,
  rejected_at_us INTEGER NOT NULL,
  PRIMARY KEY (coupon_id, user_id, request_id)
) WITHOUT ROWID;

-- Claims that are accepted and not yet recorded; a NULL user marks a barrier of a gate.
CREATE TABLE claim_log (
  position INTEGER PRIMARY KEY AUTOINCREMENT,
  coupon_id INTEGER NOT NULL,
  user_id INTEGER,
  request_id TEXT,
  incarnation TEXT,
  gate_generation INTEGER NOT NULL,
  claimed_at_us INTEGER,
  trace_parent TEXT NOT NULL DEFAULT ''
);

-- Log records that can become no row, for a person to look at.
CREATE TABLE dead_letters (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  log_position INTEGER NOT NULL,
  reason TEXT NOT NULL,
  key TEXT NOT NULL,
  payload TEXT NOT NULL
);

CREATE TABLE products (
  id INTEGER PRIMARY KEY CHECK (id > 0),
  category_id INTEGER NOT NULL,
  name TEXT NOT NULL,
  price_minor INTEGER NOT NULL CHECK (price_minor BETWEEN 0 AND 999999999999),
  stock_quantity INTEGER NOT NULL,
  is_active INTEGER NOT NULL CHECK (is_active IN (0, 1)),
  view_count INTEGER NOT NULL DEFAULT 0,
  created_at_us INTEGER NOT NULL,
  updated_at_us INTEGER NOT NULL,
  version INTEGER NOT NULL DEFAULT 0
);
-- A version is that of the last change, and grows over all products: changes are found by it.
CREATE INDEX products_by_version ON products (version);
-- Each filter and each order of a list has an index of its own, so that a page costs what it holds.
CREATE INDEX products_by_price ON products (price_minor, id);
CREATE INDEX products_by_active_price ON products (is_active, price_minor, id);
CREATE INDEX products_by_category_price ON products (category_id, price_minor, id);
CREATE INDEX products_by_category_active_price
  ON products (category_id, is_active, price_minor, id);
CREATE INDEX products_by_views ON products (view_count DESC, id);
CREATE INDEX products_by_active_views ON products (is_active, view_count DESC, id);
CREATE INDEX products_by_category_views ON products (category_id, view_count DESC, id);
CREATE INDEX products_by_category_active_views
  ON products (category_id, is_active, view_count DESC, id);
CREATE INDEX products_by_newest ON products (created_at_us DESC, id);
CREATE INDEX products_by_active_newest ON products (is_active, created_at_us DESC, id);
CREATE INDEX products_by_category_newest ON products (category_id, created_at_us DESC, id);
CREATE INDEX products_by_category_active_newest
  ON products (category_id, is_active, created_at_us DESC, id);
COMMIT;
)sql";

}  // namespace ecom::adapters::embedded

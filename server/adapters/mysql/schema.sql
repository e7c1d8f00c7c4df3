-- Version 1 of the schema, for MySQL 8.0 (from 8.0.16 on) and MariaDB 10.11. The server applies it by
-- itself; running it again changes nothing. Times are UTC.
SET NAMES utf8mb4;

CREATE TABLE IF NOT EXISTS coupons (
  id BIGINT NOT NULL PRIMARY KEY,
  name VARCHAR(255) NOT NULL,
  total_quantity BIGINT NOT NULL,
  available_quantity BIGINT NOT NULL,
  starts_at DATETIME(6) NOT NULL,
  ends_at DATETIME(6) NOT NULL,
  -- Tells this coupon from an earlier one with the same id.
  incarnation CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT (UUID()),
  gate_generation BIGINT NOT NULL DEFAULT 0,
  -- The run of the Redis that the gate of that generation was built in.
  gate_home VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '',
  CONSTRAINT coupons_id CHECK (id > 0),
  CONSTRAINT coupons_total CHECK (total_quantity >= 0),
  CONSTRAINT coupons_available CHECK (available_quantity >= 0)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;

-- One key and nothing else: a row is one place in one tree.
CREATE TABLE IF NOT EXISTS coupon_issues (
  coupon_id BIGINT NOT NULL,
  user_id BIGINT NOT NULL,
  request_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  issued_at DATETIME(6) NOT NULL,
  PRIMARY KEY (coupon_id, user_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;

CREATE TABLE IF NOT EXISTS coupon_rejections (
  coupon_id BIGINT NOT NULL,
  user_id BIGINT NOT NULL,
  request_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  reason VARCHAR(64) NOT NULL,
  rejected_at DATETIME(6) NOT NULL,
  PRIMARY KEY (coupon_id, user_id, request_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;

-- The last barrier of a coupon that the recorder has passed in a partition of the log.
CREATE TABLE IF NOT EXISTS gate_barriers (
  coupon_id BIGINT NOT NULL,
  log_partition INT NOT NULL,
  gate_generation BIGINT NOT NULL,
  PRIMARY KEY (coupon_id, log_partition)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;

-- How far each partition of the log is recorded, and how far that is published.
CREATE TABLE IF NOT EXISTS log_partitions (
  log_partition INT NOT NULL PRIMARY KEY,
  recorded BIGINT NOT NULL,
  announced BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;

-- Dead letters that a person has dealt with.
CREATE TABLE IF NOT EXISTS dead_letters_settled (
  letter_partition INT NOT NULL,
  letter_offset BIGINT NOT NULL,
  settled_as VARCHAR(16) NOT NULL,
  settled_at DATETIME(6) NOT NULL,
  PRIMARY KEY (letter_partition, letter_offset)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;

-- updated_at has no ON UPDATE: a counted view is no change of the product.
-- Each filter and each order of a list has an index of its own, so that a page costs what it holds;
-- InnoDB ends each index with the id, where it is not named.
CREATE TABLE IF NOT EXISTS products (
  id BIGINT NOT NULL PRIMARY KEY,
  category_id BIGINT NOT NULL,
  name VARCHAR(255) NOT NULL,
  price DECIMAL(12,2) NOT NULL,
  stock_quantity BIGINT NOT NULL,
  is_active BOOLEAN NOT NULL,
  view_count BIGINT NOT NULL DEFAULT 0,
  created_at DATETIME(6) NOT NULL,
  updated_at DATETIME(6) NOT NULL,
  CONSTRAINT products_id CHECK (id > 0),
  CONSTRAINT products_price CHECK (price >= 0),
  CONSTRAINT products_active CHECK (is_active IN (0, 1)),
  INDEX products_by_price (price),
  INDEX products_by_active_price (is_active, price),
  INDEX products_by_category_price (category_id, price),
  INDEX products_by_category_active_price (category_id, is_active, price),
  INDEX products_by_views (view_count DESC, id),
  INDEX products_by_active_views (is_active, view_count DESC, id),
  INDEX products_by_category_views (category_id, view_count DESC, id),
  INDEX products_by_category_active_views (category_id, is_active, view_count DESC, id),
  INDEX products_by_newest (created_at DESC),
  INDEX products_by_active_newest (is_active, created_at DESC),
  INDEX products_by_category_newest (category_id, created_at DESC),
  INDEX products_by_category_active_newest (category_id, is_active, created_at DESC)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;

CREATE TABLE IF NOT EXISTS schema_version (
  version INT NOT NULL PRIMARY KEY,
  applied_at DATETIME(6) NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;

-- Last, so that a half-applied version is not taken for a whole one.
INSERT INTO schema_version (version, applied_at) VALUES (1, UTC_TIMESTAMP(6))
ON DUPLICATE KEY UPDATE version = schema_version.version;

-- Makes version 2 of version 1 (schema.sql), in place; servers of version 1 go on meanwhile and after.
SET NAMES utf8mb4;

-- MySQL has no ADD COLUMN IF NOT EXISTS, and a version that was cut short is applied again.
SET @change = IF(
  EXISTS (SELECT 1 FROM information_schema.columns
          WHERE table_schema = DATABASE() AND table_name = 'products' AND column_name = 'version'),
  'DO 0',
  'ALTER TABLE products ADD COLUMN version BIGINT NOT NULL DEFAULT 0');
PREPARE change_products FROM @change;
EXECUTE change_products;
DEALLOCATE PREPARE change_products;

INSERT INTO schema_version (version, applied_at) VALUES (2, UTC_TIMESTAMP(6))
ON DUPLICATE KEY UPDATE version = schema_version.version;

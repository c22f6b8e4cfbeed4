-- Integer ranges lie on multiples of the interval, and the highest key stored says where "now" is.
CREATE TABLE orders (id bigint NOT NULL, item text) PARTITION BY RANGE (id);
SELECT ordinal, action, partition, sql, lock, reason
FROM steward.manage_range('orders', '1000', premake => 2);
INSERT INTO orders VALUES (1, 'first'), (2500, 'in the last one');
SELECT action, partition, reason FROM steward.plan('orders');
CALL steward.maintain('orders');
SELECT action, partition FROM steward.plan('orders');
SELECT partition, lower_bound, upper_bound, state FROM steward.partitions ORDER BY partition::text;

-- What is wrong is said, with the way out.
SELECT steward.manage_range('orders');
SELECT steward.alter_range('orders', partition_interval => '0');
CREATE TABLE "Plain Table" (id bigint);
SELECT steward.manage_range('"Plain Table"');
SELECT steward.unmanage('"Plain Table"');
BEGIN;
CALL steward.maintain('orders');
ROLLBACK;

-- An account table for the query in authpolicy.toml, and the rights of the plugin's database user.
-- If you have a table of mailboxes already, change the query and do not make this table.
--
-- The database and its user. The user may make tables until `authpolicy db init` has made the missing ones
-- of connection_log and the plugin's four tables:
--   CREATE DATABASE mail CHARACTER SET utf8mb4;
--   CREATE USER exim@localhost IDENTIFIED BY 'change-me';
--   GRANT CREATE ON mail.* TO exim@localhost;
-- After `authpolicy db init`, for AUTH:
--   REVOKE CREATE ON mail.* FROM exim@localhost;
--   GRANT SELECT ON mail.mailbox TO exim@localhost;
--   GRANT INSERT ON mail.connection_log TO exim@localhost;
--   GRANT SELECT, INSERT, DELETE ON mail.authpolicy_delivered TO exim@localhost;
-- for limits, policy.new_country and exceptions:
--   GRANT SELECT, INSERT, UPDATE, DELETE ON mail.authpolicy_count TO exim@localhost;
--   GRANT SELECT, INSERT, UPDATE, DELETE ON mail.authpolicy_seen TO exim@localhost;
--   GRANT SELECT, INSERT, DELETE ON mail.authpolicy_exception TO exim@localhost;
-- for `authpolicy log`, and for `authpolicy prune`, which needs both:
--   GRANT SELECT ON mail.connection_log TO exim@localhost;
--   GRANT DELETE ON mail.connection_log TO exim@localhost;

CREATE TABLE IF NOT EXISTS mailbox (
  address         varchar(255) NOT NULL PRIMARY KEY,   -- in lower case, with the domain
  password        varchar(255) NOT NULL,               -- as {BLF-CRYPT}$2y$10$...
  allow_countries varchar(255) NULL,                   -- as 'GB, FR' or '*'; NULL: the default
  disabled        tinyint(1)   NOT NULL DEFAULT 0
) CHARACTER SET utf8mb4;

-- An account table that the query in authpolicy.toml fits, and the rights that Exim's side needs.
-- Whoever has a table of mailboxes already needs no other: change the query instead.
--
-- The database and its user, who has the right to make tables until `authpolicy db init` has made
-- connection_log and four tables of ours, where they are missing:
--   CREATE DATABASE mail CHARACTER SET utf8mb4;
--   CREATE USER exim@localhost IDENTIFIED BY 'change-me';
--   GRANT CREATE ON mail.* TO exim@localhost;
-- After it, for AUTH:
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

-- An account table that the query in authpolicy.toml fits, and the rights that Exim's side needs.
-- Whoever has a table of mailboxes already needs neither: change the query instead.
--
-- The user itself:  CREATE USER exim@localhost IDENTIFIED BY '...';
-- `authpolicy db init` makes connection_log and three tables of ours. It needs CREATE for that, once;
-- `authpolicy log` needs SELECT, `authpolicy prune` DELETE. Exim needs no more than these two,
--   GRANT SELECT ON mail.mailbox TO exim@localhost;
--   GRANT INSERT ON mail.connection_log TO exim@localhost;
-- and for limits, exceptions and policy.new_country these besides:
--   GRANT SELECT, INSERT, UPDATE, DELETE ON mail.authpolicy_count TO exim@localhost;
--   GRANT SELECT, INSERT, UPDATE, DELETE ON mail.authpolicy_seen TO exim@localhost;
--   GRANT SELECT, INSERT, UPDATE, DELETE ON mail.authpolicy_exception TO exim@localhost;

CREATE TABLE IF NOT EXISTS mailbox (
  address         varchar(255) NOT NULL PRIMARY KEY,   -- in lower case, with the domain
  password        varchar(255) NOT NULL,               -- as {BLF-CRYPT}$2y$10$...
  allow_countries varchar(255) NULL,                   -- as 'GB, FR' or '*'; NULL: the default
  disabled        tinyint(1)   NOT NULL DEFAULT 0
) CHARACTER SET utf8mb4;

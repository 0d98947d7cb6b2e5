CREATE TABLE authpolicy_count (
  rule    TEXT    NOT NULL,  -- the name of the limit
  account TEXT    NOT NULL,  -- the account whose attempts are counted; empty: all accounts
  remote  TEXT    NOT NULL,
  value   TEXT    NOT NULL,  -- the value that is counted
  attempt TEXT    NOT NULL,  -- the id of the attempt; empty: a failure
  expires INTEGER NOT NULL,  -- milliseconds since 1970
  PRIMARY KEY (rule, account, remote, value, attempt)
) WITHOUT ROWID;
CREATE INDEX authpolicy_count_live ON authpolicy_count (rule, account, remote, expires);
CREATE INDEX authpolicy_count_expires ON authpolicy_count (expires)

CREATE TABLE authpolicy_count (
  rule    TEXT    NOT NULL,  -- the limit
  account TEXT    NOT NULL,  -- whose attempts are counted together; empty: everybody's
  remote  TEXT    NOT NULL,
  value   TEXT    NOT NULL,  -- what is counted
  attempt TEXT    NOT NULL,  -- empty when its outcome is known
  expires INTEGER NOT NULL,  -- milliseconds since 1970
  PRIMARY KEY (rule, account, remote, value, attempt)
) WITHOUT ROWID;
CREATE INDEX authpolicy_count_live ON authpolicy_count (rule, account, remote, expires);
CREATE INDEX authpolicy_count_expires ON authpolicy_count (expires)

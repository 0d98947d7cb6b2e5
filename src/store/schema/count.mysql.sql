CREATE TABLE authpolicy_count (
  rule    varbinary(32)  NOT NULL, -- the name of the limit
  account varbinary(255) NOT NULL, -- the account whose attempts are counted; empty: all accounts
  remote  varbinary(64)  NOT NULL,
  value   varbinary(255) NOT NULL, -- the value that is counted; empty: a lock
  attempt varbinary(16)  NOT NULL, -- the id of the attempt; empty: a failure or a lock
  expires bigint         NOT NULL, -- milliseconds since 1970
  PRIMARY KEY (rule, account, remote, value, attempt),
  KEY live (rule, account, remote, expires),
  KEY expires (expires)
) ENGINE = InnoDB

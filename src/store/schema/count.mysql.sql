CREATE TABLE authpolicy_count (
  rule    varbinary(32)  NOT NULL, -- the limit
  account varbinary(255) NOT NULL, -- whose attempts are counted together; empty: everybody's
  remote  varbinary(64)  NOT NULL,
  value   varbinary(255) NOT NULL, -- what is counted; empty: who holds this row's lock may count
  attempt varbinary(16)  NOT NULL, -- empty when its outcome is known
  expires bigint         NOT NULL, -- milliseconds since 1970
  PRIMARY KEY (rule, account, remote, value, attempt),
  KEY live (rule, account, remote, expires),
  KEY expires (expires)
) ENGINE = InnoDB

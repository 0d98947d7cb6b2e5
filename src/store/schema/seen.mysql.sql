CREATE TABLE authpolicy_seen (
  account     varbinary(255) NOT NULL,
  remote      varbinary(64)  NOT NULL,
  country     varbinary(2)   NOT NULL,
  fingerprint varbinary(8)   NOT NULL, -- of the stored password; empty: not known good
  time        bigint         NOT NULL, -- seconds since 1970
  PRIMARY KEY (account, remote, country),
  KEY country (account, country, time),
  KEY time (time)
) ENGINE = InnoDB

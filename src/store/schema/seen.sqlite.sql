CREATE TABLE authpolicy_seen (
  account     TEXT    NOT NULL,
  remote      TEXT    NOT NULL,
  country     TEXT    NOT NULL,
  fingerprint TEXT    NOT NULL,  -- of the stored password; empty: not known good
  time        INTEGER NOT NULL,  -- seconds since 1970
  PRIMARY KEY (account, remote, country)
) WITHOUT ROWID;
CREATE INDEX authpolicy_seen_country ON authpolicy_seen (account, country, time);
CREATE INDEX authpolicy_seen_time ON authpolicy_seen (time)

CREATE TABLE authpolicy_exception (
  id        INTEGER NOT NULL PRIMARY KEY,
  username  TEXT    NOT NULL,  -- as in connection_log
  countries TEXT    NULL,      -- "ES, FR"
  networks  TEXT    NULL,      -- "192.0.2.0/24"
  expires   INTEGER NOT NULL   -- seconds since 1970
);
CREATE INDEX authpolicy_exception_username ON authpolicy_exception (username)

CREATE TABLE account (
  username        TEXT    NOT NULL PRIMARY KEY,  -- lower case, with the domain
  password        TEXT    NOT NULL,              -- with its {SCHEME}
  allow_countries TEXT    NULL,                  -- "GB, IE"; NULL: the default rules
  deny_countries  TEXT    NULL,
  allow_nets      TEXT    NULL,                  -- "192.0.2.0/24, 2001:db8::/32"
  active          INTEGER NOT NULL DEFAULT 1
)

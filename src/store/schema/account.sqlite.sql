CREATE TABLE account (
  username        TEXT    NOT NULL PRIMARY KEY,  -- lower case, with the domain
  password        TEXT    NOT NULL,              -- with its {SCHEME}
  allow_countries TEXT    NULL,                  -- "GB, IE"; NULL: the default rules
  active          INTEGER NOT NULL DEFAULT 1
)

CREATE TABLE account (
  username        varbinary(255) NOT NULL PRIMARY KEY, -- bytes, so that no collation treats two names as one
  password        varchar(255)   NOT NULL,
  allow_countries varchar(255)   NULL,
  active          tinyint(1) unsigned NOT NULL DEFAULT 1
) CHARACTER SET utf8mb4

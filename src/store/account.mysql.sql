CREATE TABLE account (
  username        varchar(255) NOT NULL PRIMARY KEY,
  password        varchar(255) NOT NULL,
  allow_countries varchar(255) NULL,
  deny_countries  varchar(255) NULL,
  allow_nets      varchar(255) NULL,
  active          tinyint(1) unsigned NOT NULL DEFAULT 1
) CHARACTER SET utf8mb4

CREATE TABLE authpolicy_exception (
  id        int unsigned   NOT NULL AUTO_INCREMENT PRIMARY KEY,
  username  varbinary(255) NOT NULL, -- bytes, so that no collation treats two names as one
  countries varchar(255)   NULL,
  networks  varchar(255)   NULL,
  expires   bigint         NOT NULL, -- seconds since 1970
  KEY username (username)
) ENGINE = InnoDB CHARACTER SET utf8mb4

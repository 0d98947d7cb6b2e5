CREATE TABLE authpolicy_delivered (
  id varbinary(32) NOT NULL PRIMARY KEY -- of a row that is stored; begins with its time
) ENGINE = InnoDB

CREATE TABLE authpolicy_delivered (
  id varbinary(32) NOT NULL PRIMARY KEY -- the id of a stored row; begins with its time
) ENGINE = InnoDB

CREATE TABLE connection_log (
  id            int(10) unsigned    NOT NULL AUTO_INCREMENT PRIMARY KEY,
  datetime      datetime            NOT NULL DEFAULT current_timestamp(),
  protocol      varchar(10)         NOT NULL,
  username      varchar(80)         NOT NULL,
  remote_ip     varchar(40)         NOT NULL,
  country       varchar(4)          NOT NULL,
  auth_ok       tinyint(1) unsigned NULL,
  policy_reject tinyint(1) unsigned NULL
) ENGINE = InnoDB CHARACTER SET utf8mb4

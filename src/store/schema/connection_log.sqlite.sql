CREATE TABLE connection_log (
  id            INTEGER     NOT NULL PRIMARY KEY,
  datetime      datetime    NOT NULL DEFAULT current_timestamp,
  protocol      varchar(10) NOT NULL,
  username      varchar(80) NOT NULL,
  remote_ip     varchar(40) NOT NULL,
  country       varchar(4)  NOT NULL,
  auth_ok       tinyint(1)  NULL,
  policy_reject tinyint(1)  NULL
)

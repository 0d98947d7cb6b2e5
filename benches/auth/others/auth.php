<?php
// Decides an AUTH in PHP and answers "yes" or "no": account, password, country, and a row.
// It does what authpolicy does with `allow_countries = ["GB"]`.

$name = strtolower(base64_decode($_SERVER['HTTP_AUTH_NAME']));
$password = base64_decode($_SERVER['HTTP_AUTH_PASSWORD']);
$remote = $_SERVER['HTTP_AUTH_REMOTE'];

$database = new PDO(getenv('AUTH_DSN'), getenv('AUTH_USER'), getenv('AUTH_USER'), [
    PDO::ATTR_PERSISTENT => true,
    PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION,
]);
$query = $database->prepare('SELECT password, allow_countries FROM account WHERE username = ? AND active = 1');
$query->execute([$name]);
$account = $query->fetch(PDO::FETCH_ASSOC);
$auth_ok = $account !== false && password_verify($password, $account['password']);

// DB-IP's file has the country at the top, MaxMind's has it one level deeper.
$found = (new MaxMind\Db\Reader(getenv('AUTH_GEOIP')))->get($remote);
$country = $found['country_code'] ?? $found['country']['iso_code'] ?? '';
$allowed = explode(',', $account['allow_countries'] ?? 'GB');
$reject = $country !== '' && !in_array($country, array_map('trim', $allowed), true);

$insert = $database->prepare(
    'INSERT INTO connection_log (protocol, username, remote_ip, country, auth_ok, policy_reject)'
    . ' VALUES (?, ?, ?, ?, ?, ?)'
);
$insert->execute(['php', $name, $remote, $country, (int) $auth_ok, (int) $reject]);
echo $auth_ok && !$reject ? 'yes' : 'no';

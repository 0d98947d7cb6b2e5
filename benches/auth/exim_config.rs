//! Exim's configuration for a way.

use crate::common::Site;
use crate::place::REMOTE;

/// A whole configuration. `main` goes into the main section, `authenticator` into the only driver.
pub(crate) fn whole(directory: &str, main: &str, authenticator: &str) -> String {
    format!(
        "exim_user = Debian-exim
exim_group = Debian-exim
spool_directory = {directory}/spool
log_file_path = {directory}/log/%slog
primary_hostname = mx.example.com
local_interfaces = 127.0.0.1
host_lookup =
rfc1413_query_timeout = 0s
# Exim's processes stay for 200 ms after QUIT.
smtp_accept_max = 2000
smtp_connect_backlog = 128
auth_advertise_hosts = *
tls_advertise_hosts =
{main}
begin authenticators
plain:
{authenticator}
  public_name = PLAIN
"
    )
}

/// Options of the driver `plaintext` for PLAIN.
pub(crate) fn plaintext(condition: &str) -> String {
    format!(
        "  driver = plaintext\n  server_prompts = :\n  server_condition = {condition}\n  \
         server_set_id = $auth2"
    )
}

/// A call of the plugin, as in docs/exim.md.
pub(crate) fn check(site: &Site) -> String {
    let options = "{mechanism=PLAIN}{tls=$tls_in_cipher}{authzid=$auth1}";
    site.dlfunc("check", &format!("{{$auth2}}{{$auth3}}{{{REMOTE}}}{options}"))
}

/// The option that loads the plugin in the daemon. Its limit is higher than in README, because all
/// clients have one address.
pub(crate) fn preload(site: &Site) -> String {
    format!("smtp_accept_max_per_host = {}", site.dlfunc("preload", "{2000}"))
}

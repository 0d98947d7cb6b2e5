//! A private MySQL. Debian's stable releases have none, so scripts/fetch-mysql unpacks one, with
//! its own C library, into a folder.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use mysql::prelude::Queryable;

use super::MariaDb;
use super::mariadb::PASSWORD;

/// Runs a program in the folder: `sh -c ENTER enter FOLDER DIRECTORY PROGRAM...`, in its own mount
/// namespace. The server's directory has the same path inside.
const ENTER: &str = r#"set -e
folder=$1 directory=$2
shift 2
mount -t tmpfs -o mode=755 tmpfs "$folder/dev"
for device in null zero urandom; do
    : >"$folder/dev/$device"
    mount --bind "/dev/$device" "$folder/dev/$device"
done
mount --bind /proc "$folder/proc"
mount -t tmpfs -o mode=1777 tmpfs "$folder/tmp"
mkdir -p "$folder$directory"
mount --bind "$directory" "$folder$directory"
exec chroot "$folder" "$@""#;

/// A command that runs the server with its usual options for this directory.
fn mysqld(directory: &Path) -> Command {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/mysql");
    assert!(folder.join("version").exists(), "no MySQL: run scripts/fetch-mysql target/mysql");
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", ENTER, "enter"]).arg(folder).arg(directory);
    command.args(["/usr/sbin/mysqld", "--no-defaults", "--user=root", "--secure-file-priv="]);
    command.arg(format!("--datadir={}", directory.join("data").display()));
    command.arg(format!("--tmpdir={}", directory.display()));
    command
}

/// Starts a MySQL. Its user `exim` logs in with `caching_sha2_password`, MySQL's default.
pub fn start() -> MariaDb {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let made = mysqld(directory.path()).arg("--initialize-insecure").output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let server = MariaDb::start_by(serve, directory);
    let mut root = server.root("");
    // The server does not resolve names, so the user needs both forms of the host.
    for host in ["localhost", "127.0.0.1"] {
        root.query_drop(format!("CREATE USER exim@{host} IDENTIFIED BY '{PASSWORD}'")).unwrap();
        root.query_drop(format!("GRANT ALL ON *.* TO exim@{host}")).unwrap();
    }
    server
}

fn serve(directory: &Path, port: u16, more: &[String]) -> Child {
    mysqld(directory)
        .args(["--bind-address=127.0.0.1", "--mysqlx=OFF", "--skip-name-resolve"])
        .args(["--innodb-buffer-pool-size=32M", "--innodb-flush-log-at-trx-commit=2"])
        .args(["--skip-log-bin", "--performance-schema=OFF"])
        .arg(format!("--socket={}", directory.join("sock").display()))
        .arg(format!("--pid-file={}", directory.join("pid").display()))
        .arg(format!("--port={port}"))
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(directory.join("error.log")).unwrap())
        .spawn()
        .unwrap()
}

//! The Exims with which the plugin is tested: Debian 12's, and newer ones. scripts/fetch-exims
//! unpacks the newer ones into folders, each with its own C library.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use super::Site;

/// Runs a program in an unpacked folder: `sh -c ENTER enter FOLDER SITE PROGRAM...`, in its own
/// mount namespace. The site has the same path inside. libc's syslog() connects to the site's
/// socket.
const ENTER: &str = r#"set -e
folder=$1 site=$2
shift 2
mount -t tmpfs -o mode=755 tmpfs "$folder/dev"
for device in null zero urandom; do
    : >"$folder/dev/$device"
    mount --bind "/dev/$device" "$folder/dev/$device"
done
ln -s "$site/syslog" "$folder/dev/log"
mount --bind /proc "$folder/proc"
mount -t tmpfs -o mode=1777 tmpfs "$folder/tmp"
mkdir -p "$folder$site"
mount --bind "$site" "$folder$site"
exec chroot "$folder" "$@""#;

/// An Exim, installed or unpacked.
pub struct Installed {
    pub name: &'static str,
    folder: Option<PathBuf>,
    /// The version that `exim4 -bV` prints.
    pub version: String,
}

impl Installed {
    /// The Exim of Debian 12.
    pub fn system() -> Self {
        let output = Command::new("exim4").arg("-bV").output().expect("install exim4-daemon-heavy");
        let version = version(&String::from_utf8_lossy(&output.stdout));
        Self { name: "the machine's own", folder: None, version }
    }

    /// An Exim that scripts/fetch-exims has fetched; `None` if trixie-backports has none.
    pub fn fetched(name: &'static str) -> Option<Self> {
        let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/exims");
        let folder = all.join(name);
        let reason = fs::read_to_string(all.join(format!("{name}.absent")));
        match (fs::read_to_string(folder.join("version")), reason) {
            (Ok(printed), _) => {
                Some(Self { name, folder: Some(folder), version: version(&printed) })
            }
            (Err(_), Ok(reason)) if name.starts_with("backports-") => {
                print_line(&format!("{name} is NOT tested: {}", reason.trim_end()));
                None
            }
            (Err(e), _) => {
                panic!("{}: {e}: run scripts/fetch-exims target/exims", folder.display())
            }
        }
    }

    /// True if docs/exim.md names this version: the plugin must know the types of its functions.
    pub fn is_known(&self) -> bool {
        let mut parts = self.version.split('.');
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        parts.next() == Some("4")
            && parts.next().is_some_and(|minor| ["96", "98", "99", "100"].contains(&minor))
            && parts.next().is_none_or(is_number)
            && parts.next().is_none()
    }

    /// A command that runs this Exim with access to the site.
    pub fn command(&self, site: &Site) -> Command {
        self.command_of(site, Path::new("/usr/sbin/exim4"))
    }

    /// A command that runs another program in this Exim's folder, with access to the site.
    pub fn command_of(&self, site: &Site, program: &Path) -> Command {
        let Some(folder) = &self.folder else { return Command::new(program) };
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", ENTER, "enter"]).arg(folder).arg(site.directory());
        command.arg(program);
        command
    }

    /// Makes a copy of this Exim in a site, with another version. Exim's own test suite finds the
    /// place by the same mark (version.c). The new version must have the same length.
    pub fn renamed(&self, site: &Site, version: &str) -> PathBuf {
        let folder = self.folder.as_deref().unwrap_or(Path::new("/"));
        let mut bytes = fs::read(folder.join("usr/sbin/exim4")).unwrap();
        let place = |version: &str| format!("{version}\0<<eximversion>>").into_bytes();
        let (old, new) = (place(&self.version), place(version));
        assert_eq!(old.len(), new.len());
        let at = bytes.windows(old.len()).position(|window| window == old);
        let at = at.expect("no <<eximversion>> in the program");
        bytes.splice(at..at + old.len(), new);
        let program = site.path("exim4");
        fs::write(&program, bytes).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        program
    }
}

/// The version in the output of `exim4 -bV`.
fn version(printed: &str) -> String {
    let rest = printed.split("Exim version ").nth(1);
    let rest = rest.unwrap_or_else(|| panic!("no version in: {printed}"));
    rest.split_whitespace().next().unwrap().to_owned()
}

/// Prints a line even if the test passes.
pub fn print_line(line: &str) {
    let _ = writeln!(std::io::stderr(), "versions: {line}");
}

/// The syslog of a site.
pub struct Syslog(UnixDatagram);

impl Syslog {
    pub fn of(site: &Site) -> Self {
        let path = site.path("syslog");
        let socket = UnixDatagram::bind(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self(socket)
    }

    /// The messages since the last call, without the priority. Exim sends a message before it
    /// replies to the client, so that none is missing after the reply.
    pub fn messages(&self) -> Vec<String> {
        let mut buffer = [0; 8192];
        let mut messages = Vec::new();
        while let Ok(length) = self.0.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            // Facility mail, severity notice: the copy for the reject log.
            if text.starts_with("<21>") {
                continue;
            }
            // Facility mail, severity info.
            let text = text.strip_prefix("<22>").unwrap_or_else(|| panic!("{text}"));
            messages.push(text.trim_end_matches('\0').to_owned());
        }
        messages
    }

    /// The plugin's lines since the last call, without the plugin's name.
    pub fn lines(&self) -> Vec<String> {
        let lines = self.messages().into_iter().map(|text| {
            let line = text.split_once(" authpolicy: ");
            line.unwrap_or_else(|| panic!("{text}")).1.to_owned()
        });
        lines.collect()
    }
}

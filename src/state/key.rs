//! The decoy key: a secret of this host. Decoys (fake SCRAM keys) are derived from it, so that they
//! look random, and are the same each time. It is not used if `policy.hash_nonce` is set.

use std::fs;
use std::io::Read;
use std::io::Write;
use std::path::Path;

use zeroize::Zeroizing;

use crate::error::Error;
use crate::secret::Secret;
use crate::state::files;

const FILE_NAME: &str = "decoy-key";
const LENGTH: usize = 32;

/// Reads the key. The first process that needs it makes it.
///
/// # Errors
/// The key cannot be read or made.
pub fn key(directory: &Path) -> Result<Secret, Error> {
    let path = directory.join(FILE_NAME);
    let fail = |source| Error::System { place: path.display().to_string(), source };
    match read(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            make(directory, &path).map_err(fail)?;
            read(&path).map_err(fail)
        }
        key => key.map_err(fail),
    }
}

fn read(path: &Path) -> std::io::Result<Secret> {
    let mut bytes = Vec::with_capacity(LENGTH);
    let length = u64::try_from(LENGTH).unwrap_or(0);
    files::open(path)?.take(length).read_to_end(&mut bytes)?;
    if bytes.len() == LENGTH {
        return Ok(Secret::new(bytes));
    }
    Err(std::io::Error::other("is too short: delete it, and another one is made"))
}

/// Writes a complete file, then links it into place. If another process was first, its key stays.
fn make(directory: &Path, path: &Path) -> std::io::Result<()> {
    // Exim's user could not read a file that root makes.
    if nix::unistd::Uid::effective().is_root() {
        return Err(std::io::Error::other("only Exim's user makes it, not root"));
    }
    let mut bytes = Zeroizing::new([0; LENGTH]);
    getrandom::fill(&mut *bytes).map_err(|e| std::io::Error::other(e.to_string()))?;
    let fresh = directory.join(format!("{FILE_NAME}.{}", std::process::id()));
    let linked = files::create(&fresh)
        .and_then(|mut file| file.write_all(&*bytes))
        .and_then(|()| fs::hard_link(&fresh, path));
    let _ = fs::remove_file(&fresh).ok();
    match linked {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists && path.exists() => Ok(()),
        linked => linked,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_not_by_root() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE_NAME);
        if nix::unistd::Uid::effective().is_root() {
            assert!(key(directory.path()).is_err());
            fs::write(&path, [7; LENGTH]).unwrap();
            let refused = key(directory.path()).unwrap_err().to_string();
            assert!(refused.contains("mode 0644") && refused.contains("delete it"), "{refused}");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        let first = key(directory.path()).unwrap();
        assert_eq!(first.expose(), key(directory.path()).unwrap().expose());
        fs::write(&path, "short").unwrap();
        assert!(key(directory.path()).unwrap_err().to_string().contains("is too short"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(directory.path().join("planted"), [7; LENGTH]).unwrap();
        std::os::unix::fs::symlink(directory.path().join("planted"), &path).unwrap();
        assert!(key(directory.path()).is_err(), "no link is followed");
    }
}

//! What lives as long as this process: the configuration, the GeoIP map, the latest verdict.
//!
//! Exim serves each SMTP connection in a process of its own, so this is one client's session.
//! After a fork it is made anew: a child never uses its parent's state.

use std::path::Path;
use std::path::PathBuf;

use crate::config;
use crate::config::Config;
use crate::error::Error;
use crate::geo::Geo;
use crate::verdict::Verdict;

/// What this process knows.
#[derive(Default)]
pub struct Session {
    pid: u32,
    settings: Vec<(PathBuf, Settings)>,
    /// The verdict of the latest attempt, for `last`.
    pub last: Option<Verdict>,
}

/// One configuration, and the GeoIP file it names.
pub struct Settings {
    /// `authpolicy.toml`
    pub config: Config,
    /// The file of `geoip.database`.
    pub geo: Option<Geo>,
}

impl Settings {
    /// Reads a configuration.
    ///
    /// # Errors
    /// It cannot be read, or is wrong.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let config = Config::load(path)?;
        let geo = config.geoip.as_deref().map(Geo::new);
        Ok(Self { config, geo })
    }
}

impl Session {
    /// Nothing known yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { pid: 0, settings: Vec::new(), last: None }
    }

    /// Forgets what a parent process knew.
    pub fn renew(&mut self, pid: u32) {
        if self.pid != pid {
            *self = Self { pid, ..Self::new() };
        }
    }

    /// The configuration at this path, or at the default one; read once, and again after an error.
    ///
    /// # Errors
    /// It cannot be read, or is wrong.
    pub fn settings(&mut self, path: Option<&str>) -> Result<&Settings, Error> {
        let path = Path::new(path.unwrap_or(config::DEFAULT_PATH));
        let known = self.settings.iter().position(|(known, _)| known == path);
        let index = match known {
            Some(index) => index,
            None => {
                self.settings.push((path.to_owned(), Settings::load(path)?));
                self.settings.len().saturating_sub(1)
            }
        };
        self.settings
            .get(index)
            .map(|(_, settings)| settings)
            .ok_or_else(|| Error::Config { file: path.to_owned(), what: String::from("was lost") })
    }
}

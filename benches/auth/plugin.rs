//! The optimized plugin.

use std::path::PathBuf;

use crate::common::exim;

/// The plugin that `AUTHPOLICY_BENCH_PLUGIN` names, or else the one of this build.
pub(crate) fn optimized() -> PathBuf {
    std::env::var_os("AUTHPOLICY_BENCH_PLUGIN").map_or_else(exim::plugin, PathBuf::from)
}

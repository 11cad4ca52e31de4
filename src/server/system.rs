//! Limits and file properties that the operating system reports.

use super::config::ConfigError;
use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::process::{Resource, Rlimit, geteuid, getrlimit, setrlimit};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Permission bits that let users other than the owner and the group use a file, or the group
/// change it.
const FOREIGN_BITS: u32 = 0o027;
/// Permission bits that let users other than the owner use a file.
const NOT_OWNER_BITS: u32 = 0o077;

/// Raises the limit of open files to what the system allows and returns it.
pub(super) fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum.unwrap_or(u64::MAX),
        Err(error) => {
            tracing::warn!(%error, "the limit of open files cannot be raised");
            limit.current.unwrap_or(u64::MAX)
        }
    }
}

/// Checks that a file with a secret is private.
///
/// A file of the user that runs the server has at most mode 0600; a file of root has at most mode
/// 0640. A file of root on a read-only mount is accepted with any mode, because that is how
/// container runtimes hand over secrets.
pub(super) fn check_is_private(path: &Path) -> Result<(), ConfigError> {
    let Ok(metadata) = fs::metadata(path) else {
        // Reading it reports the error.
        return Ok(());
    };
    let mode = metadata.mode() & 0o777;
    let is_roots = metadata.uid() == 0;
    let refused = if is_roots { FOREIGN_BITS } else { NOT_OWNER_BITS };
    if !metadata.is_file() || mode & refused == 0 || is_roots && is_on_read_only_mount(path) {
        return Ok(());
    }
    // A user that owns neither the file nor root's rights cannot run the command.
    let sudo = if metadata.uid() == geteuid().as_raw() { "" } else { "sudo " };
    Err(ConfigError::new(format!(
        "{path} holds a secret and has mode {mode:04o}, so that other users can use it: run \
         `{sudo}chmod {advised:o} {path}`",
        path = path.display(),
        advised = mode & !refused,
    )))
}

fn is_on_read_only_mount(path: &Path) -> bool {
    statvfs(path).is_ok_and(|mount| mount.f_flag.contains(StatVfsMountFlags::RDONLY))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_secret_that_other_users_can_read_is_refused_with_the_command_that_helps() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let roots = geteuid().is_root();
        for (mode, is_private) in
            [(0o600, true), (0o400, true), (0o640, roots), (0o644, false), (0o606, false)]
        {
            fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
            let checked = check_is_private(file.path());
            assert_eq!(checked.is_ok(), is_private, "{mode:o}: {checked:?}");
            if let Err(error) = checked {
                let advice = if roots && mode == 0o644 { "chmod 640 " } else { "chmod 600 " };
                assert!(error.to_string().contains(advice), "{error}");
            }
        }
    }
}

//! The root filesystem of an image: one program, the shared libraries that it is linked to, and a few files.
//!
//! There is no shell: a container cannot be entered but by a debug container of Kubernetes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;

use crate::run;
use crate::setup;

/// Writes it into a folder that is not there yet; `etc` is the folder of files that every image has.
///
/// # Errors
/// The program is linked to something that is not there, or a file cannot be written.
pub(super) fn write(etc: &Path, program: &Path, root: &Path) -> anyhow::Result<()> {
    let name = program.file_name().context("the program has no name")?;
    for folder in ["usr/bin", "etc", "tmp"] {
        fs::create_dir_all(root.join(folder))
            .with_context(|| format!("cannot make {folder} in {}", root.display()))?;
    }
    let installed = root.join("usr/bin").join(name);
    copy(program, &installed, 0o755)?;
    strip(&installed)?;
    for library in libraries(program)? {
        let place = root.join(library.strip_prefix("/").unwrap_or(&library));
        fs::create_dir_all(place.parent().context("a library is in no folder")?)?;
        copy(&library, &place, 0o755)?;
    }
    for file in fs::read_dir(etc).with_context(|| format!("cannot read {}", etc.display()))? {
        let file = file?;
        copy(&file.path(), &root.join("etc").join(file.file_name()), 0o644)?;
    }
    open(root)?;
    // Anybody may write there and remove what is their own; pods have a volume in its place where they need it.
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    Ok(())
}

/// Adds the roots that Mozilla trusts, in the place where programs look first. They are those that the lock file pins, not this machine's:
/// it may have roots that only its owner trusts.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write_certificates(root: &Path) -> anyhow::Result<()> {
    let folder = root.join("etc/ssl/certs");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let file = folder.join("ca-certificates.crt");
    let bundle: String = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().map(|root| pem(root)).collect();
    fs::write(&file, bundle).with_context(|| format!("cannot write {}", file.display()))?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?;
    open(&root.join("etc"))
}

/// A certificate as text (RFC 7468).
fn pem(der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.extend(line.iter().map(|byte| char::from(*byte)));
        pem.push('\n');
    }
    pem + "-----END CERTIFICATE-----\n"
}

fn copy(from: &Path, to: &Path, mode: u32) -> anyhow::Result<()> {
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode))?;
    Ok(())
}

/// Folders that anybody may read, whatever the umask of who builds.
fn open(folder: &Path) -> anyhow::Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open(&entry.path())?;
        }
    }
    Ok(())
}

/// Takes symbols out, which are most of a development build. Released programs have none.
fn strip(program: &Path) -> anyhow::Result<()> {
    if !setup::answers(Command::new("strip").arg("--version")) {
        println!("strip is missing (Debian has it in binutils): {} stays large.", program.display());
        return Ok(());
    }
    run::run(Command::new("strip").arg("--strip-all").arg(program))
}

/// The files that the loader needs to start a program, the loader itself among them.
fn libraries(program: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("cannot start ldd")?;
    ensure!(output.status.success(), "ldd {} ended with {}", program.display(), output.status);
    needed(&String::from_utf8_lossy(&output.stdout))
        .with_context(|| format!("{} cannot be put into an image", program.display()))
}

/// Reads what `ldd` says.
fn needed(listing: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for line in listing.lines() {
        let line = line.trim();
        let (name, file) = line.split_once(" => ").unwrap_or((line, line));
        if file.starts_with("not found") {
            bail!("{name} is not found on this machine");
        }
        // The kernel's own has no path; a line without an address is not of a library.
        if let Some((file, _)) = file.split_once(" (0x")
            && file.starts_with('/')
        {
            files.push(PathBuf::from(file));
        }
    }
    ensure!(!files.is_empty(), "it is linked to nothing, not even a loader: {}", listing.trim());
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_libraries_and_the_loader_are_found_and_the_kernels_part_is_left_out() {
        let listing = "\tlinux-vdso.so.1 (0x00007fda6885e000)
\tlibgcc_s.so.1 => /lib/x86_64-linux-gnu/libgcc_s.so.1 (0x00007fda6882d000)
\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007fda6533e000)
\t/lib64/ld-linux-x86-64.so.2 (0x00007fda68860000)
";
        let expected = [
            "/lib/x86_64-linux-gnu/libgcc_s.so.1",
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(needed(listing).unwrap(), expected.map(PathBuf::from));
    }

    #[test]
    fn a_library_that_is_missing_is_named() {
        let error = needed("\tlibssl.so.3 => not found\n").unwrap_err();
        assert_eq!(error.to_string(), "libssl.so.3 is not found on this machine");
    }

    #[test]
    fn a_program_starts_from_its_root_alone() {
        let folder = tempfile::tempdir().unwrap();
        let etc = folder.path().join("etc");
        fs::create_dir(&etc).unwrap();
        fs::write(etc.join("passwd"), "nonroot:x:65532:65532::/:/\n").unwrap();
        let root = folder.path().join("root");
        write(&etc, Path::new("/bin/true"), &root).unwrap();
        // The loader of the root, told to look nowhere else.
        let loader = libraries(Path::new("/bin/true"))
            .unwrap()
            .into_iter()
            .find(|file| file.to_string_lossy().contains("/ld-"))
            .unwrap();
        let inside = |file: &Path| root.join(file.strip_prefix("/").unwrap());
        let libraries: Vec<String> = libraries(Path::new("/bin/true"))
            .unwrap()
            .iter()
            .map(|file| inside(file).parent().unwrap().display().to_string())
            .collect();
        let status = Command::new(inside(&loader))
            .arg("--inhibit-cache")
            .args(["--library-path", &libraries.join(":")])
            .arg(root.join("usr/bin/true"))
            .status()
            .unwrap();
        assert!(status.success());
        let mode = |name: &str| fs::metadata(root.join(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("tmp"), mode("etc"), mode("etc/passwd")), (0o1777, 0o755, 0o644));
    }
}

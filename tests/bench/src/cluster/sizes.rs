//! How large the images are.

use std::fs;
use std::path::Path;

use crate::series::{Series, Unit};

/// An image that is released: its name, its program, and the names of both sizes for a machine.
const IMAGES: [(&str, &str, [&str; 2]); 3] = [
    ("enlace-operator", "enlace-operator", ["operatorImage", "operatorProgram"]),
    ("enlace-api", "enlace-api", ["apiImage", "apiProgram"]),
    ("enlace-device", "device-pod", ["deviceImage", "deviceProgram"]),
];

/// The sizes of the archives in a folder of `cargo xtask images` and of the programs in them; of those that are there.
pub(crate) fn read(folder: &Path) -> Vec<Series> {
    let mut series = Vec::new();
    for (image, program, [archive_key, program_key]) in IMAGES {
        let mut add = |key, what, file: &Path| {
            if let Ok(file) = fs::metadata(file) {
                series.push(Series::single(key, what, Unit::bytes(file.len())));
            }
        };
        add(archive_key, format!("image {image} (archive)"), &folder.join(format!("{image}.tar")));
        let file = folder.join(image).join("root/usr/bin").join(program);
        add(program_key, format!("the program {program} in it"), &file);
    }
    series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("enlace-api.tar"), [0; 8]).unwrap();
        let keys: Vec<&str> = read(folder.path()).iter().map(|series| series.key).collect();
        assert_eq!(keys, ["apiImage"]);
    }
}

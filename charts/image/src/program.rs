//! A program that is to be the only file of an image. Reads the head of an ELF file; produces the program and the processor
//! that it is for. Refuses what needs a loader or a library: there is none in the image, and the kernel's "no such file or
//! directory" would name the program itself.

use crate::error::{Doing as _, Error, Result};
use std::fs;
use std::path::Path;

/// A static Linux program.
#[derive(Clone, PartialEq, Eq)]
pub struct Program {
    /// The whole file.
    pub bytes: Vec<u8>,
    /// Its processor, as OCI names it.
    pub architecture: &'static str,
}

// From the ELF specification, 64 bits, little-endian.
const MAGIC: &[u8] = b"\x7fELF\x02\x01";
const MACHINE: usize = 18;
const SEGMENTS: usize = 32;
const SEGMENT_SIZE: usize = 54;
const SEGMENT_COUNT: usize = 56;
/// The segment that names a loader.
const INTERPRETER: u32 = 3;

impl Program {
    /// Reads a program.
    ///
    /// # Errors
    /// When the file cannot be read, is no program for Linux on a processor that we build for, or is linked dynamically.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).doing(|| format!("read {}", path.display()))?;
        let refused = |reason: &str| Error::Program { path: path.to_owned(), reason: reason.to_owned() };
        if !bytes.starts_with(MAGIC) {
            return Err(refused("this is no 64-bit little-endian ELF program"));
        }
        let cut = || refused("this ELF program ends within its headers");
        let architecture = match number(&bytes, MACHINE, 2).ok_or_else(cut)? {
            62 => "amd64",
            183 => "arm64",
            other => {
                return Err(refused(&format!("it is for a processor that we do not build for (ELF machine {other})")));
            }
        };
        let field = |at, width| number(&bytes, at, width).ok_or_else(cut);
        let (first, size, count) = (field(SEGMENTS, 8)?, field(SEGMENT_SIZE, 2)?, field(SEGMENT_COUNT, 2)?);
        for index in 0..count {
            let at = first.checked_add(index * size).and_then(|at| usize::try_from(at).ok()).ok_or_else(cut)?;
            if field(at, 4)? == u64::from(INTERPRETER) {
                return Err(refused(
                    "it is linked dynamically, and its image would hold no loader: build it for a musl target",
                ));
            }
        }
        Ok(Self { bytes, architecture })
    }
}

fn number(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(width)?)?;
    Some(field.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

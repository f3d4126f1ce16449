//! A disk in memory under the database: it loses power at a chosen operation, or refuses to work for a while.
//!
//! What was synced is kept. Of what was not, a power failure keeps any sectors, so that writes are lost, torn and
//! reordered as on real disks.

use redb::{Builder, Database, DatabaseError, StorageBackend};
use std::io::{Error, ErrorKind, Result};
use std::sync::{Arc, Mutex};
use vedette_engine::Medium;

const SECTOR: usize = 512;

/// A disk; clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Mutex<Platter>>);

#[derive(Debug, Default)]
struct Platter {
    /// What survives a power failure for certain.
    durable: Vec<u8>,
    /// What the machine sees.
    cached: Vec<u8>,
    /// What was done since the last sync.
    unsynced: Vec<Operation>,
    fault: Option<Fault>,
    /// Writes, syncs and changes of length since the fault was set.
    operations: u64,
}

#[derive(Clone, Debug)]
enum Operation {
    Write(usize, Vec<u8>),
    SetLength(usize),
}

/// What goes wrong, counted in writes, syncs and changes of length from now.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// From this operation on nothing works.
    PowerFails { at: u64 },
    /// This operation and so many after it are refused with this error.
    Refuses { at: u64, operations: u64, code: i32 },
}

/// How much of what was not synced is there after a power failure.
#[derive(Clone, Copy, Debug)]
pub enum Kept {
    Nothing,
    Everything,
    Operations,
    Sectors,
}

impl Kept {
    pub const ALL: [Self; 4] = [Self::Nothing, Self::Everything, Self::Operations, Self::Sectors];
}

impl Disk {
    /// The medium that an engine opens.
    pub fn medium(&self) -> Medium {
        let disk = self.clone();
        Medium::Other(Arc::new(move |builder: &Builder| -> std::result::Result<Database, DatabaseError> {
            builder.create_with_backend(Drive(disk.clone()))
        }))
    }

    /// A disk with this content, all of it synced, and without a fault.
    pub fn insert(&self, content: Vec<u8>) {
        *self.0.lock().unwrap() = Platter { durable: content.clone(), cached: content, ..Platter::default() };
    }

    /// The power fails at the n-th operation from now, from 0.
    pub fn power_fails_at(&self, at: u64) {
        self.set_fault(Some(Fault::PowerFails { at }));
    }

    /// The n-th operation from now, and so many from it on, fail with this code.
    pub fn refuses_at(&self, at: u64, operations: u64, code: i32) {
        self.set_fault(Some(Fault::Refuses { at, operations, code }));
    }

    /// It works from now on.
    pub fn is_mended(&self) {
        self.set_fault(None);
    }

    fn set_fault(&self, fault: Option<Fault>) {
        let mut platter = self.0.lock().unwrap();
        (platter.fault, platter.operations) = (fault, 0);
    }

    /// The power is back: what the machine finds is what was synced, and of the rest what chance kept.
    pub fn restart(&self, kept: Kept, random: &mut fastrand::Rng) {
        let mut platter = self.0.lock().unwrap();
        let platter = &mut *platter;
        for operation in platter.unsynced.drain(..) {
            let is_kept = match kept {
                Kept::Nothing => false,
                Kept::Everything | Kept::Sectors => true,
                Kept::Operations => random.bool(),
            };
            match operation {
                _ if !is_kept => {}
                Operation::SetLength(length) => platter.durable.resize(length, 0),
                Operation::Write(offset, data) => {
                    for (at, sector) in data.chunks(SECTOR).enumerate() {
                        if !matches!(kept, Kept::Sectors) || random.bool() {
                            put(&mut platter.durable, offset + at * SECTOR, sector);
                        }
                    }
                }
            }
        }
        platter.cached = platter.durable.clone();
        (platter.fault, platter.operations) = (None, 0);
    }
}

/// Data beyond the end is lost with the length that would have held it.
fn put(content: &mut [u8], offset: usize, data: &[u8]) {
    if let Some(room) = content.get_mut(offset..) {
        let fits = data.len().min(room.len());
        room[..fits].copy_from_slice(&data[..fits]);
    }
}

impl Platter {
    /// Counts an operation, and refuses it when it is one of those that fail.
    fn operate(&mut self) -> Result<()> {
        let this = self.operations;
        self.operations += 1;
        match self.fault {
            Some(Fault::PowerFails { at }) if this >= at => Err(Error::from_raw_os_error(5)),
            Some(Fault::Refuses { at, operations, code }) if (at..at + operations).contains(&this) => {
                Err(Error::from_raw_os_error(code))
            }
            _ => Ok(()),
        }
    }

    /// With the power, reading ends too.
    fn is_dead(&self) -> bool {
        matches!(self.fault, Some(Fault::PowerFails { at }) if self.operations > at)
    }
}

/// The disk as the database holds it while it is open.
#[derive(Debug)]
struct Drive(Disk);

impl StorageBackend for Drive {
    fn len(&self) -> Result<u64> {
        Ok(self.0.0.lock().unwrap().cached.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let platter = self.0.0.lock().unwrap();
        if platter.is_dead() {
            return Err(Error::from_raw_os_error(5));
        }
        let offset = offset as usize;
        let found = platter.cached.get(offset..offset + out.len()).ok_or(ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, length: u64) -> Result<()> {
        let mut platter = self.0.0.lock().unwrap();
        platter.operate()?;
        platter.cached.resize(length as usize, 0);
        platter.unsynced.push(Operation::SetLength(length as usize));
        Ok(())
    }

    fn sync_data(&self) -> Result<()> {
        let mut platter = self.0.0.lock().unwrap();
        platter.operate()?;
        let platter = &mut *platter;
        for operation in platter.unsynced.drain(..) {
            match operation {
                Operation::SetLength(length) => platter.durable.resize(length, 0),
                Operation::Write(offset, data) => put(&mut platter.durable, offset, &data),
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        let mut platter = self.0.0.lock().unwrap();
        let fails = platter.operate();
        if fails.is_ok() || platter.is_dead() {
            // The write under way when the power fails may be there in part.
            put(&mut platter.cached, offset as usize, data);
            platter.unsynced.push(Operation::Write(offset as usize, data.to_vec()));
        }
        fails
    }
}

//! PyTorch's c10d as far as the trainer uses it: a key-value store over TCP, a group of processes that reduces tensors,
//! and the reducer of gradients. [`Store`], [`Group`] and [`Reducer`] are safe; what they call is in `c10d.cpp`.
#![allow(unsafe_code, reason = "calls C++; every other module of this crate denies it")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::{self, NonNull};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tch::Tensor;

/// Null, or an error's first line in memory that [`grano_c10d_free`] frees.
type Failure = *mut c_char;

// Handles and tensors are non-null pointers to live C++ objects, strings end in NUL, results are written through the last
// pointers unless there is a failure. No C++ exception comes through.
unsafe extern "C" {
    fn grano_c10d_free(memory: *mut c_void);
    safe fn grano_c10d_quit(code: c_int) -> !;
    safe fn grano_c10d_has_nccl() -> bool;
    fn grano_c10d_store_open(
        host: *const c_char,
        port: u16,
        serve: bool,
        timeout_ms: i64,
        prefix: *const c_char,
        store: *mut *mut c_void,
    ) -> Failure;
    fn grano_c10d_store_close(store: *mut c_void);
    fn grano_c10d_store_set(store: *mut c_void, key: *const c_char, value: *const u8, length: usize) -> Failure;
    fn grano_c10d_store_get(store: *mut c_void, key: *const c_char, value: *mut *mut u8, length: *mut usize)
    -> Failure;
    fn grano_c10d_store_has(store: *mut c_void, key: *const c_char, has: *mut bool) -> Failure;
    fn grano_c10d_store_add(store: *mut c_void, key: *const c_char, amount: i64, sum: *mut i64) -> Failure;
    fn grano_c10d_group_open(
        store: *mut c_void,
        rank: c_int,
        ranks: c_int,
        cuda: bool,
        address: *const c_char,
        interface: *const c_char,
        timeout_ms: i64,
        group: *mut *mut c_void,
    ) -> Failure;
    fn grano_c10d_group_close(group: *mut c_void);
    fn grano_c10d_sum(group: *mut c_void, tensor: *mut c_void) -> Failure;
    fn grano_c10d_broadcast(group: *mut c_void, tensor: *mut c_void, root: c_int) -> Failure;
    fn grano_c10d_gather(group: *mut c_void, all: *mut c_void, own: *mut c_void) -> Failure;
    fn grano_c10d_reducer_open(
        group: *mut c_void,
        parameters: *const *mut c_void,
        count: usize,
        first_bytes: usize,
        bucket_bytes: usize,
        reducer: *mut *mut c_void,
    ) -> Failure;
    fn grano_c10d_reducer_close(reducer: *mut c_void);
    fn grano_c10d_reducer_prepare(reducer: *mut c_void) -> Failure;
}

/// Ends the process at once, without the destructors of threads that still run.
pub fn quit(code: i32) -> ! {
    grano_c10d_quit(code)
}

/// Whether this build has NCCL, for GPUs.
pub fn has_nccl() -> bool {
    grano_c10d_has_nccl()
}

/// A failure as an error.
fn check(failure: Failure) -> Result<()> {
    if failure.is_null() {
        return Ok(());
    }
    // SAFETY: it is not null, and c10d.cpp made it as a string that ends in NUL, which nobody else has.
    let text = unsafe { CStr::from_ptr(failure) }.to_string_lossy().into_owned();
    // SAFETY: c10d.cpp allocated it with malloc, and it is not used after this.
    unsafe { grano_c10d_free(failure.cast()) };
    bail!(text)
}

fn handle(pointer: *mut c_void) -> Result<NonNull<c_void>> {
    NonNull::new(pointer).context("c10d made nothing")
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// A tensor as C++ takes it. c10d changes what the tensor holds, never the handle itself.
fn pointer(tensor: &Tensor) -> *mut c_void {
    tensor.as_ptr().cast_mut().cast()
}

/// A connection to a key-value store that all ranks share (`TCPStore`). Keys must not hold NUL.
pub struct Store(NonNull<c_void>);

// SAFETY: `TCPStore` may be used from any thread.
unsafe impl Send for Store {}
// SAFETY: `TCPStore` takes a lock for every request.
unsafe impl Sync for Store {}

impl Store {
    /// Connects to the store at `host` and `port`, or begins to serve it; keys get a prefix. Requests fail after `timeout`,
    /// which is also how long the connection is tried.
    ///
    /// # Errors
    /// When the port cannot be had, or nobody answers.
    pub fn open(host: &str, port: u16, serve: bool, timeout: Duration, prefix: &str) -> Result<Self> {
        let (host, prefix, mut store) = (CString::new(host)?, CString::new(prefix)?, ptr::null_mut());
        let (host, prefix) = (host.as_ptr(), prefix.as_ptr());
        // SAFETY: both strings end in NUL and outlive the call; `store` is writable.
        check(unsafe { grano_c10d_store_open(host, port, serve, milliseconds(timeout), prefix, &raw mut store) })?;
        Ok(Self(handle(store)?))
    }

    /// Sets a key's value.
    ///
    /// # Errors
    /// When the store is out of reach.
    pub fn set(&self, key: &str, value: &[u8]) -> Result<()> {
        let key = CString::new(key)?;
        // SAFETY: the handle is live, the key ends in NUL, and `value` has that many bytes; all outlive the call.
        check(unsafe { grano_c10d_store_set(self.0.as_ptr(), key.as_ptr(), value.as_ptr(), value.len()) })
    }

    /// A key's value; waits for it until the store's time is over.
    ///
    /// # Errors
    /// When the store is out of reach, or nobody sets the key.
    pub fn get(&self, key: &str) -> Result<Vec<u8>> {
        let (key, mut value, mut length) = (CString::new(key)?, ptr::null_mut(), 0);
        let results = (&raw mut value, &raw mut length);
        // SAFETY: the handle is live, the key ends in NUL and outlives the call, and both results are writable.
        check(unsafe { grano_c10d_store_get(self.0.as_ptr(), key.as_ptr(), results.0, results.1) })?;
        // SAFETY: without a failure `value` points to `length` bytes that nobody else has.
        let bytes = unsafe { std::slice::from_raw_parts(value, length) }.to_vec();
        // SAFETY: c10d.cpp allocated it with malloc, and it is not used after this.
        unsafe { grano_c10d_free(value.cast()) };
        Ok(bytes)
    }

    /// Whether a key has a value.
    ///
    /// # Errors
    /// When the store is out of reach.
    pub fn has(&self, key: &str) -> Result<bool> {
        let (key, mut has) = (CString::new(key)?, false);
        // SAFETY: the handle is live, the key ends in NUL and outlives the call, and `has` is writable.
        check(unsafe { grano_c10d_store_has(self.0.as_ptr(), key.as_ptr(), &raw mut has) })?;
        Ok(has)
    }

    /// Adds to a key that counts, from 0; gives the sum.
    ///
    /// # Errors
    /// When the store is out of reach.
    pub fn add(&self, key: &str, amount: i64) -> Result<i64> {
        let (key, mut sum) = (CString::new(key)?, 0);
        // SAFETY: the handle is live, the key ends in NUL and outlives the call, and `sum` is writable.
        check(unsafe { grano_c10d_store_add(self.0.as_ptr(), key.as_ptr(), amount, &raw mut sum) })?;
        Ok(sum)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // SAFETY: the handle is live, and not used after this.
        unsafe { grano_c10d_store_close(self.0.as_ptr()) };
    }
}

/// The ranks' collective operations (`ProcessGroup`), which all ranks must call in the same order; by gloo for tensors on
/// the CPU, by NCCL, or gloo where this build has none, for those on a GPU.
pub struct Group(NonNull<c_void>);

/// Where a rank's other ranks connect to it.
pub struct Place<'a> {
    /// A network interface's name, or empty.
    pub interface: &'a str,
    /// A local address where no interface is named; where both are empty, that of the host's name.
    pub address: &'a str,
}

impl Group {
    /// Connects every rank with every other. Operations fail after `timeout`.
    ///
    /// # Errors
    /// When not all ranks come, or they cannot reach each other.
    pub fn open(
        store: &Store,
        [rank, ranks]: [usize; 2],
        cuda: bool,
        place: &Place<'_>,
        timeout: Duration,
    ) -> Result<Self> {
        let (address, interface) = (CString::new(place.address)?, CString::new(place.interface)?);
        let (rank, ranks) = (c_int::try_from(rank)?, c_int::try_from(ranks)?);
        let (store, timeout, mut group) = (store.0.as_ptr(), milliseconds(timeout), ptr::null_mut());
        let (address, interface) = (address.as_ptr(), interface.as_ptr());
        // SAFETY: the store is live, both strings end in NUL and outlive the call, and `group` is writable.
        check(unsafe { grano_c10d_group_open(store, rank, ranks, cuda, address, interface, timeout, &raw mut group) })?;
        Ok(Self(handle(group)?))
    }

    /// Replaces a tensor by its sum over the ranks.
    ///
    /// # Errors
    /// When a rank is out of reach.
    pub fn sum(&self, tensor: &Tensor) -> Result<()> {
        // SAFETY: group and tensor are live.
        check(unsafe { grano_c10d_sum(self.0.as_ptr(), pointer(tensor)) })
    }

    /// Replaces a tensor by rank `root`'s, of the same shape.
    ///
    /// # Errors
    /// When a rank is out of reach.
    pub fn broadcast(&self, tensor: &Tensor, root: usize) -> Result<()> {
        let root = c_int::try_from(root)?;
        // SAFETY: group and tensor are live.
        check(unsafe { grano_c10d_broadcast(self.0.as_ptr(), pointer(tensor), root) })
    }

    /// Fills `all` with every rank's `own`, one behind another along the first axis.
    ///
    /// # Errors
    /// When a rank is out of reach.
    pub fn gather(&self, all: &Tensor, own: &Tensor) -> Result<()> {
        // SAFETY: the group and both tensors are live.
        check(unsafe { grano_c10d_gather(self.0.as_ptr(), pointer(all), pointer(own)) })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // SAFETY: the handle is live, and not used after this.
        unsafe { grano_c10d_group_close(self.0.as_ptr()) };
    }
}

/// Replaces gradients by their means over the ranks while the backward pass runs (`Reducer`, Li et al. 2020, "PyTorch
/// Distributed", section 3.2): hooks on the parameters fill buckets, of which each is reduced as soon as it is full.
pub struct Reducer(NonNull<c_void>);

impl Reducer {
    /// Of parameters in the order of the forward pass, each of which takes part in every backward pass. The first bucket
    /// to be reduced has `first_bytes`, others `bucket_bytes`.
    ///
    /// # Errors
    /// When a rank is out of reach.
    pub fn new(group: &Group, parameters: &[&Tensor], [first_bytes, bucket_bytes]: [usize; 2]) -> Result<Self> {
        let (pointers, mut reducer): (Vec<_>, _) =
            (parameters.iter().map(|one| pointer(one)).collect(), ptr::null_mut());
        let (group, list, count) = (group.0.as_ptr(), pointers.as_ptr(), pointers.len());
        // SAFETY: the group and all tensors are live; c10d.cpp copies the handles; `reducer` is writable.
        check(unsafe { grano_c10d_reducer_open(group, list, count, first_bytes, bucket_bytes, &raw mut reducer) })?;
        Ok(Self(handle(reducer)?))
    }

    /// Gets ready for one backward pass; must be called before each.
    ///
    /// # Errors
    /// When a rank is out of reach, or the pass before left a parameter out.
    pub fn prepare(&mut self) -> Result<()> {
        // SAFETY: the handle is live.
        check(unsafe { grano_c10d_reducer_prepare(self.0.as_ptr()) })
    }
}

impl Drop for Reducer {
    fn drop(&mut self) {
        // SAFETY: the handle is live, and not used after this.
        unsafe { grano_c10d_reducer_close(self.0.as_ptr()) };
    }
}

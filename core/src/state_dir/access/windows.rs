//! Who may use a file or a pipe: this user, by its access list.
//!
//! The system itself and the administrators are not kept out, because they can get at everything anyway.

#![expect(unsafe_code, reason = "access lists have no interface in the standard library")]

use std::ffi::c_void;
use std::io;
use std::marker::PhantomData;
use std::os::windows::io::{AsHandle, AsRawHandle as _, FromRawHandle as _, OwnedHandle};
use std::ptr;

use windows_sys::Win32::Foundation::{ERROR_SUCCESS, HLOCAL, LocalFree};
use windows_sys::Win32::Security::Authorization::{
    ConvertSidToStringSidW, ConvertStringSecurityDescriptorToSecurityDescriptorW, GetSecurityInfo,
    SDDL_REVISION_1, SE_FILE_OBJECT, SE_KERNEL_OBJECT, SE_OBJECT_TYPE,
};
use windows_sys::Win32::Security::{
    ACCESS_ALLOWED_ACE, ACE_HEADER, ACL, DACL_SECURITY_INFORMATION, EqualSid, GetAce, GetTokenInformation,
    IsWellKnownSid, OWNER_SECURITY_INFORMATION, PSECURITY_DESCRIPTOR, PSID, SECURITY_ATTRIBUTES, TOKEN_QUERY,
    TOKEN_USER, TokenUser, WinBuiltinAdministratorsSid, WinCreatorOwnerRightsSid, WinCreatorOwnerSid,
    WinLocalSystemSid,
};
use windows_sys::Win32::System::SystemServices::{ACCESS_ALLOWED_ACE_TYPE, ACCESS_DENIED_ACE_TYPE};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};

/// What `LocalFree` frees.
struct Local(HLOCAL);

impl Drop for Local {
    fn drop(&mut self) {
        // SAFETY: Windows has allocated it for this process, and nothing refers to it any more.
        unsafe { LocalFree(self.0) };
    }
}

/// The user of this process.
struct User {
    /// A `TOKEN_USER` and what it points to, as 8-byte words for its alignment.
    token_user: Box<[u64]>,
}

impl User {
    fn current() -> io::Result<Self> {
        let mut token = ptr::null_mut();
        // SAFETY: it writes to a variable that lives until it returns.
        check_success(unsafe { OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &raw mut token) })?;
        // SAFETY: it was opened above, and nothing else closes it.
        let token = unsafe { OwnedHandle::from_raw_handle(token) };
        // A SID has at most 68 bytes.
        let mut token_user = vec![0_u64; 32].into_boxed_slice();
        let mut length = 0;
        // SAFETY: it writes no more than this length into the buffer, which lives until it returns.
        check_success(unsafe {
            GetTokenInformation(
                token.as_raw_handle(),
                TokenUser,
                token_user.as_mut_ptr().cast(),
                size_of_val(&*token_user) as u32,
                &raw mut length,
            )
        })?;
        Ok(Self { token_user })
    }

    fn sid(&self) -> PSID {
        // SAFETY: the buffer begins with a TOKEN_USER, and is aligned for it.
        unsafe { (*self.token_user.as_ptr().cast::<TOKEN_USER>()).User.Sid }
    }

    /// As in `S-1-5-21-…`.
    fn name(&self) -> io::Result<String> {
        name(self.sid())
    }
}

/// A SID as text. It must point to a valid one.
fn name(sid: PSID) -> io::Result<String> {
    let mut text = ptr::null_mut();
    // SAFETY: the SID is valid, and the variable lives until it returns.
    check_success(unsafe { ConvertSidToStringSidW(sid, &raw mut text) })?;
    let _text = Local(text.cast());
    // SAFETY: it is a text that ends with a zero.
    let units = (0..).map(|at| unsafe { *text.add(at) }).take_while(|unit| *unit != 0);
    Ok(units.map(|unit| char::from_u32(unit.into()).unwrap_or(char::REPLACEMENT_CHARACTER)).collect())
}

/// What a new file, directory or pipe is created with: it belongs to this user, and no other user may use it.
pub(super) struct Private {
    descriptor: Local,
}

/// What the system calls take, as long as the [`Private`] lives.
pub(super) struct Attributes<'a>(SECURITY_ATTRIBUTES, PhantomData<&'a Private>);

impl Private {
    /// For a file or a pipe.
    pub(super) fn file() -> io::Result<Self> {
        Self::new("")
    }

    /// For a directory. What is created in it gets the same access list.
    pub(super) fn directory() -> io::Result<Self> {
        Self::new("OICI")
    }

    fn new(inheritance: &str) -> io::Result<Self> {
        let user = User::current()?.name()?;
        Self::of(&format!("O:{user}D:P(A;{inheritance};FA;;;{user})(A;{inheritance};FA;;;SY)"))
    }

    /// With this owner and list, in the security descriptor definition language.
    pub(super) fn of(description: &str) -> io::Result<Self> {
        let description: Vec<u16> = description.encode_utf16().chain([0]).collect();
        let mut descriptor: PSECURITY_DESCRIPTOR = ptr::null_mut();
        // SAFETY: the text ends with a zero, and the variable lives until it returns.
        check_success(unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                description.as_ptr(),
                SDDL_REVISION_1,
                &raw mut descriptor,
                ptr::null_mut(),
            )
        })?;
        Ok(Self { descriptor: Local(descriptor) })
    }

    pub(super) fn attributes(&self) -> Attributes<'_> {
        let attributes = SECURITY_ATTRIBUTES {
            nLength: size_of::<SECURITY_ATTRIBUTES>() as u32,
            lpSecurityDescriptor: self.descriptor.0,
            // Child processes do not inherit the handle.
            bInheritHandle: 0,
        };
        Attributes(attributes, PhantomData)
    }
}

impl Attributes<'_> {
    pub(super) fn as_ptr(&self) -> *const SECURITY_ATTRIBUTES {
        &raw const self.0
    }
}

/// Returns what is wrong when another user owns a file or a directory, or when other users may use it.
pub(super) fn check_file(file: &impl AsHandle) -> io::Result<Result<(), String>> {
    let user = User::current()?;
    let security = Security::of(file, SE_FILE_OBJECT)?;
    if !is_trusted(security.owner, &user) {
        let (owner, me) = (name(security.owner)?, user.name()?);
        return Ok(Err(format!("belongs to user {owner}, and this process runs as user {me}")));
    }
    Ok(match security.stranger(&user)? {
        Some(stranger) => Err(format!("may be used by {stranger}, who could get at the node secret")),
        None => Ok(()),
    })
}

/// Refuses a pipe that does not belong to this user. The owner is the user who created it, at either end.
pub(super) fn check_pipe(pipe: &impl AsHandle) -> io::Result<()> {
    let user = User::current()?;
    let security = Security::of(pipe, SE_KERNEL_OBJECT)?;
    // SAFETY: both point to valid SIDs, which live as long as `security` and `user`.
    if security.owner.is_null() || unsafe { EqualSid(security.owner, user.sid()) } == 0 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "its pipe belongs to another user"));
    }
    Ok(())
}

/// The owner and the access list of an object.
struct Security {
    /// Null if there is none. Points into the descriptor, as the list does.
    owner: PSID,
    /// Null if everybody may use the object.
    list: *const ACL,
    _descriptor: Local,
}

impl Security {
    fn of(object: &impl AsHandle, kind: SE_OBJECT_TYPE) -> io::Result<Self> {
        let (mut owner, mut list, mut descriptor) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
        // SAFETY: the handle is open, and the variables live until it returns.
        let result = unsafe {
            GetSecurityInfo(
                object.as_handle().as_raw_handle(),
                kind,
                OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION,
                &raw mut owner,
                ptr::null_mut(),
                &raw mut list,
                ptr::null_mut(),
                &raw mut descriptor,
            )
        };
        if result != ERROR_SUCCESS {
            return Err(io::Error::from_raw_os_error(result.cast_signed()));
        }
        Ok(Self { owner, list, _descriptor: Local(descriptor) })
    }

    /// A user whom the list allows to use the object, other than those who are trusted.
    fn stranger(&self, user: &User) -> io::Result<Option<String>> {
        if self.list.is_null() {
            return Ok(Some("everybody".into()));
        }
        // SAFETY: the list is not null, and lives as long as `self`.
        let count = unsafe { (*self.list).AceCount };
        for nth in 0..count {
            let mut entry: *mut c_void = ptr::null_mut();
            // SAFETY: as above, and the variable lives until it returns.
            check_success(unsafe { GetAce(self.list, nth.into(), &raw mut entry) })?;
            // SAFETY: every entry begins with a header.
            let kind = u32::from(unsafe { (*entry.cast::<ACE_HEADER>()).AceType });
            match kind {
                ACCESS_DENIED_ACE_TYPE => {}
                ACCESS_ALLOWED_ACE_TYPE => {
                    // SAFETY: an entry of this type is an ACCESS_ALLOWED_ACE, which ends with a SID.
                    let sid: PSID = unsafe { &raw mut (*entry.cast::<ACCESS_ALLOWED_ACE>()).SidStart }.cast();
                    if !is_trusted(sid, user) {
                        return Ok(Some(name(sid)?));
                    }
                }
                _ => return Ok(Some(format!("those whom an access rule of type {kind} allows"))),
            }
        }
        Ok(None)
    }
}

/// Whether this is the given user, the system, an administrator, or a name for the owner of an object.
fn is_trusted(sid: PSID, user: &User) -> bool {
    const TRUSTED: [i32; 4] =
        [WinLocalSystemSid, WinBuiltinAdministratorsSid, WinCreatorOwnerSid, WinCreatorOwnerRightsSid];
    // SAFETY: the SID is null, or valid as that of the user is.
    !sid.is_null()
        && unsafe {
            EqualSid(sid, user.sid()) != 0 || TRUSTED.iter().any(|kind| IsWellKnownSid(sid, *kind) != 0)
        }
}

fn check_success(result: i32) -> io::Result<()> {
    if result == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

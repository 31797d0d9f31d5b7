//! Which file systems are refused: those that other machines may write to, because a lock in this machine's kernel does
//! not exclude them.

use std::fs;

use rustix::fd::AsFd;

/// The kind of the file system, if other machines may write to it.
pub(super) fn remote_kind(directory: impl AsFd) -> Option<String> {
    const KINDS: &[(u32, &str)] = &[
        (0x0000_6969, "NFS"),
        (0x0000_517b, "SMB"),
        (0xff53_4d42, "SMB (CIFS)"),
        (0xfe53_4d42, "SMB"),
        (0x0102_1997, "9P"),
        (0x00c3_6400, "Ceph"),
        (0x5346_414f, "AFS"),
        (0x6b41_4653, "AFS"),
        (0x7375_7245, "Coda"),
        (0x0bd0_0bd0, "Lustre"),
        (0x4750_4653, "GPFS"),
        (0x0116_1970, "GFS2"),
        (0x7461_636f, "OCFS2"),
        (0x1983_0326, "BeeGFS"),
    ];
    const FUSE: u32 = 0x6573_5546;
    // The 32-bit numbers of the kernel's magic.h.
    let kind = rustix::fs::fstatfs(&directory).ok()?.f_type as u32;
    if kind == FUSE {
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        return remote_fuse(&mounts, rustix::fs::fstat(&directory).ok()?.st_dev);
    }
    KINDS.iter().find(|(number, _)| *number == kind).map(|(_, name)| (*name).to_owned())
}

/// FUSE can be any file system, and the list of mounts names it. Local ones, such as an overlay, are allowed.
fn remote_fuse(mounts: &str, device: u64) -> Option<String> {
    const REMOTE: &[&str] = &[
        "sshfs",
        "s3",
        "gcs",
        "gluster",
        "ceph",
        "rclone",
        "davfs",
        "goofys",
        "mountpoint",
        "juicefs",
        "blob",
        "hdfs",
        "moosefs",
        "mfs",
        "lizardfs",
        "seaweedfs",
        "cifs",
        "smb",
        "nfs",
        "curlftpfs",
        "grpc",
    ];
    let device = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    // "36 35 98:0 /root /where options optional… - type source options"
    let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some(&device))?;
    let kind = mount.split_once(" - ")?.1.split(' ').next()?;
    REMOTE.iter().any(|remote| kind.contains(remote)).then(|| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuse_is_refused_when_it_is_a_network_file_system() {
        let mounts = "\
            24 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
            36 24 0:45 / /mnt/a rw,nosuid shared:2 master:1 - fuse.sshfs user@host:/ rw\n\
            37 24 0:46 / /mnt/b rw - fuse.fuse-overlayfs fuse-overlayfs rw\n\
            38 24 0:47 / /mnt/c rw - virtiofs share rw\n";
        let on = |minor| remote_fuse(mounts, rustix::fs::makedev(0, minor));
        assert_eq!(on(45).as_deref(), Some("fuse.sshfs"));
        assert_eq!([on(46), on(47), on(48)], [None, None, None]);
    }

    #[test]
    fn a_disk_of_this_machine_is_not_remote() {
        let directory = fs::File::open(std::env::temp_dir()).expect("it exists");
        assert_eq!(remote_kind(&directory), None);
    }
}

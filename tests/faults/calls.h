/* The system calls that write, and the filter that stops a process at each of them. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { OPEN, WRITE, RENAME, LINK, SYMLINK, UNLINK, MKDIR, RMDIR, TRUNCATE, SYNC, MODE, TIME, COPY, XATTR, NODE, OWNER };

/* A call and the positions of its arguments. */
struct call {
    int number, kind;
    int dir1, path1; /* a directory descriptor and a path; -1: no such argument */
    int dir2, path2;
    int fd; /* a descriptor in place of a path, or -1 */
};
static const struct call calls[] = {
#ifdef __NR_open
    {__NR_open, OPEN, -1, 0, -1, -1, -1},
    {__NR_creat, OPEN, -1, 0, -1, -1, -1},
    {__NR_rename, RENAME, -1, 0, -1, 1, -1},
    {__NR_link, LINK, -1, 0, -1, 1, -1},
    {__NR_symlink, SYMLINK, -1, 1, -1, -1, -1},
    {__NR_unlink, UNLINK, -1, 0, -1, -1, -1},
    {__NR_mkdir, MKDIR, -1, 0, -1, -1, -1},
    {__NR_rmdir, RMDIR, -1, 0, -1, -1, -1},
    {__NR_chmod, MODE, -1, 0, -1, -1, -1},
    {__NR_chown, OWNER, -1, 0, -1, -1, -1},
    {__NR_lchown, OWNER, -1, 0, -1, -1, -1},
    {__NR_utime, TIME, -1, 0, -1, -1, -1},
    {__NR_utimes, TIME, -1, 0, -1, -1, -1},
    {__NR_mknod, NODE, -1, 0, -1, -1, -1},
#endif
#ifdef __NR_renameat
    {__NR_renameat, RENAME, 0, 1, 2, 3, -1},
#endif
    {__NR_openat, OPEN, 0, 1, -1, -1, -1},
    {__NR_write, WRITE, -1, -1, -1, -1, 0},
    {__NR_pwrite64, WRITE, -1, -1, -1, -1, 0},
    {__NR_writev, WRITE, -1, -1, -1, -1, 0},
    {__NR_pwritev, WRITE, -1, -1, -1, -1, 0},
    {__NR_renameat2, RENAME, 0, 1, 2, 3, -1},
    {__NR_linkat, LINK, 0, 1, 2, 3, -1},
    {__NR_symlinkat, SYMLINK, 1, 2, -1, -1, -1},
    {__NR_unlinkat, UNLINK, 0, 1, -1, -1, -1},
    {__NR_mkdirat, MKDIR, 0, 1, -1, -1, -1},
    {__NR_truncate, TRUNCATE, -1, 0, -1, -1, -1},
    {__NR_ftruncate, TRUNCATE, -1, -1, -1, -1, 0},
    {__NR_fallocate, TRUNCATE, -1, -1, -1, -1, 0},
    {__NR_fsync, SYNC, -1, -1, -1, -1, 0},
    {__NR_fdatasync, SYNC, -1, -1, -1, -1, 0},
    {__NR_syncfs, SYNC, -1, -1, -1, -1, 0},
    {__NR_fchmod, MODE, -1, -1, -1, -1, 0},
    {__NR_fchmodat, MODE, 0, 1, -1, -1, -1},
    {__NR_fchown, OWNER, -1, -1, -1, -1, 0},
    {__NR_fchownat, OWNER, 0, 1, -1, -1, -1},
    {__NR_utimensat, TIME, 0, 1, -1, -1, -1},
    {__NR_copy_file_range, COPY, -1, -1, -1, -1, 2},
    {__NR_sendfile, COPY, -1, -1, -1, -1, 0},
    {__NR_ioctl, COPY, -1, -1, -1, -1, 0},
    {__NR_setxattr, XATTR, -1, 0, -1, -1, -1},
    {__NR_lsetxattr, XATTR, -1, 0, -1, -1, -1},
    {__NR_fsetxattr, XATTR, -1, -1, -1, -1, 0},
    {__NR_mknodat, NODE, 0, 1, -1, -1, -1},
};
#define CALLS (sizeof calls / sizeof *calls)


static void die(const char *what)
{
    perror(what);
    exit(70);
}

/* the filter */

static int install_filter(void)
{
    struct sock_filter code[16 + CALLS * 5];
    unsigned n = 0;
#define DO(...) code[n++] = (struct sock_filter)__VA_ARGS__
#define LOAD_NUMBER DO(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)))
#define NOTIFY DO(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF))
    LOAD_NUMBER;
    for (unsigned i = 0; i < CALLS; i++) {
        int number = calls[i].number, argument = -1;
        uint32_t wanted = O_CREAT | O_TRUNC;
        if (number == __NR_openat)
            argument = 2;
#ifdef __NR_open
        if (number == __NR_open)
            argument = 1;
#endif
        if (number == __NR_ioctl) {
            DO(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 4));
            DO(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])));
            DO(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FICLONE, 0, 1));
            NOTIFY;
            LOAD_NUMBER;
        } else if (argument >= 0) {
            DO(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 4));
            DO(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0]) + 8 * argument));
            DO(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, wanted, 0, 1));
            NOTIFY;
            LOAD_NUMBER;
        } else {
            DO(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1));
            NOTIFY;
        }
    }
    DO(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    struct sock_fprog program = {n, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        die("no_new_privs");
    int fd = syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
    if (fd < 0)
        die("seccomp");
    return fd;
}

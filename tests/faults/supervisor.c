/* Runs a program and decides about each of its writing system calls: it continues, fails, or kills the program.

   A seccomp filter stops every process of the program, in any language and linked in any way, at each call that
   creates, writes, renames, removes or syncs. This process, to which the filter does not apply, inspects the call and
   answers. Calls of all processes are counted together. Calls outside the folder under test continue uncounted.

   supervisor CONTROL PROGRAM...    CONTROL: a file of sizeof(struct control), mapped by the process that sets faults */
#define _GNU_SOURCE
#include <dirent.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "calls.h"

enum { LET, KILL_ALL, KILL_ONE, FAIL_ONCE, FAIL_ON };

struct control {
    uint64_t count;      /* calls so far */
    uint64_t at;         /* the call to disturb, or the first later one whose kind is in `kinds` */
    uint32_t action;
    uint32_t error;      /* errno of failing calls */
    uint32_t kinds;      /* bits */
    uint32_t torn;       /* a write that kills the program first writes half of its data */
    uint32_t hit;        /* 1 + the kind of the disturbed call */
    uint32_t run;        /* changes with each run, which starts a new journal */
    char root[PATH_MAX]; /* the folder under test */
    char journal[PATH_MAX];
    char said[PATH_MAX]; /* the file of the command's output, whose writes are in the journal but not counted */
};

static struct control *control;
static FILE *journal;

/* the call of a stopped process */

static int read_memory(pid_t pid, uint64_t from, void *to, size_t size)
{
    struct iovec here = {to, size}, there = {(void *)(uintptr_t)from, size};
    return process_vm_readv(pid, &here, 1, &there, 1, 0) == (ssize_t)size ? 0 : -1;
}

static int read_text(pid_t pid, uint64_t from, char *to, size_t most)
{
    for (size_t at = 0; at + 1 < most;) { /* not beyond a page: the next one may be unmapped */
        size_t part = 4096 - ((from + at) & 4095);
        if (part > most - 1 - at)
            part = most - 1 - at;
        if (read_memory(pid, from + at, to + at, part))
            return -1;
        if (memchr(to + at, 0, part))
            return 0;
        at += part;
    }
    return -1;
}

static int link_of(pid_t pid, const char *what, int fd, char *to)
{
    char name[64];
    if (fd >= 0)
        snprintf(name, sizeof name, "/proc/%d/fd/%d", pid, fd);
    else
        snprintf(name, sizeof name, "/proc/%d/%s", pid, what);
    ssize_t length = readlink(name, to, PATH_MAX - 1);
    if (length < 0)
        return -1;
    to[length] = 0;
    return 0;
}

/* the absolute path of a path argument: its folder's real path, and its own name */
static int path_of(pid_t pid, int dir, uint64_t text, char *to)
{
    char given[PATH_MAX], whole[2 * PATH_MAX], folder[PATH_MAX];
    if (!text || read_text(pid, text, given, sizeof given))
        return -1;
    if (*given == '/') {
        strcpy(whole, given);
    } else {
        if (link_of(pid, "cwd", dir, folder))
            return -1;
        snprintf(whole, sizeof whole, "%s/%s", folder, given);
    }
    size_t length = strlen(whole);
    while (length > 1 && whole[length - 1] == '/')
        whole[--length] = 0;
    char *name = strrchr(whole, '/');
    *name++ = 0;
    if (!realpath(*whole ? whole : "/", folder))
        return -1;
    return snprintf(to, PATH_MAX, "%s/%s", folder, name) < PATH_MAX ? 0 : -1;
}

static int counts(const char *path)
{
    size_t length = strlen(control->root);
    return length && !strncmp(path, control->root, length) && (path[length] == '/' || !path[length]);
}

struct deed {
    int kind;
    char path[PATH_MAX], other[PATH_MAX];
    int64_t number; /* flags of open, offset of write (-1: end), length of truncate, mode of chmod and mkdir */
    char *data;
    size_t size;
};

static void read_data(struct deed *deed, pid_t pid, const struct seccomp_data *data)
{
    int vector = data->nr == __NR_writev || data->nr == __NR_pwritev;
    struct iovec single = {(void *)(uintptr_t)data->args[1], data->args[2]}, many[64], *parts = &single;
    size_t number = 1;
    if (vector) {
        number = data->args[2] < 64 ? data->args[2] : 64;
        if (read_memory(pid, data->args[1], many, number * sizeof *many))
            return;
        parts = many;
    }
    for (size_t i = 0; i < number; i++) {
        deed->data = realloc(deed->data, deed->size + parts[i].iov_len + 1);
        if (parts[i].iov_len && read_memory(pid, (uintptr_t)parts[i].iov_base, deed->data + deed->size, parts[i].iov_len))
            return;
        deed->size += parts[i].iov_len;
    }
    deed->number = data->args[3];
    if (data->nr == __NR_write || data->nr == __NR_writev) {
        char name[64], line[256];
        long long position = 0;
        unsigned flags = 0;
        snprintf(name, sizeof name, "/proc/%d/fdinfo/%d", pid, (int)data->args[0]);
        FILE *file = fopen(name, "r");
        while (file && fgets(line, sizeof line, file))
            if (sscanf(line, "pos: %lld", &position) != 1)
                sscanf(line, "flags: %o", &flags);
        if (file)
            fclose(file);
        deed->number = flags & O_APPEND ? -1 : position;
    }
}

/* Return -1 for a call to ignore, 1 for output of the command, 0 for a call to count. */
static int understand(const struct seccomp_notif *note, struct deed *deed)
{
    const struct seccomp_data *data = &note->data;
    const struct call *call = NULL;
    for (unsigned i = 0; i < CALLS && !call; i++)
        if (calls[i].number == data->nr)
            call = &calls[i];
    memset(deed, 0, offsetof(struct deed, path) + 1);
    *deed->other = 0, deed->data = NULL, deed->size = 0, deed->number = 0;
    if (!call || !control->run)
        return -1;
    deed->kind = call->kind;
#define DIRECTORY(argument) ((argument) < 0 || (int)data->args[argument] == AT_FDCWD ? -1 : (int)data->args[argument])
    if (call->fd >= 0) {
        if (link_of(note->pid, "", data->args[call->fd], deed->path))
            return -1;
    } else if (data->nr == __NR_utimensat && !data->args[1]) { /* on a descriptor */
        if (link_of(note->pid, "", data->args[0], deed->path))
            return -1;
    } else {
        if (path_of(note->pid, DIRECTORY(call->dir1), data->args[call->path1], deed->path))
            return -1;
        if (call->path2 >= 0 &&
            path_of(note->pid, DIRECTORY(call->dir2), data->args[call->path2], deed->other))
            return -1;
    }
    int said = deed->kind == WRITE && !strcmp(deed->path, control->said);
    if (!said && !counts(deed->path) && !(*deed->other && counts(deed->other)))
        return -1;
    if (deed->kind == OPEN)
#ifdef __NR_open
        deed->number = data->nr == __NR_creat ? O_CREAT | O_TRUNC : data->args[data->nr == __NR_openat ? 2 : 1];
#else
        deed->number = data->args[2];
#endif
    if (deed->kind == WRITE)
        read_data(deed, note->pid, data);
    if (deed->kind == TRUNCATE || deed->kind == MODE)
        deed->number = data->args[data->nr == __NR_fchmodat ? 2 : 1];
    if (data->nr == __NR_fallocate)
        deed->number = -1;
    if (data->nr == __NR_unlinkat && data->args[2] & AT_REMOVEDIR)
        deed->kind = RMDIR;
    if (deed->kind == SYMLINK) {
        deed->data = calloc(1, PATH_MAX);
        if (!read_text(note->pid, data->args[0], deed->data, PATH_MAX))
            deed->size = strlen(deed->data);
    }
    return said;
}

/* the decision */

static void write_journal(const struct deed *deed)
{
    static uint32_t run;
    if (run != control->run) {
        run = control->run;
        if (journal)
            fclose(journal);
        journal = *control->journal ? fopen(control->journal, "w") : NULL;
    }
    if (!journal)
        return;
    fprintf(journal, "%d\t%s\t%s\t%lld\t%zu\n", deed->kind, deed->path, deed->other, (long long)deed->number, deed->size);
    fwrite(deed->data ? deed->data : "", 1, deed->size, journal);
    fflush(journal);
}

/* Kill all processes of a session. Their calls are not answered meanwhile, so they write nothing more. */
static void kill_session(pid_t session)
{
    for (int found = 1; found;) {
        found = 0;
        DIR *folder = opendir("/proc");
        struct dirent *entry;
        while (folder && (entry = readdir(folder))) {
            pid_t pid = atoi(entry->d_name);
            if (pid <= 0 || getsid(pid) != session)
                continue;
            char name[64], line[512], *state;
            snprintf(name, sizeof name, "/proc/%d/stat", pid);
            FILE *file = fopen(name, "r");
            if (!file)
                continue;
            state = fgets(line, sizeof line, file) ? strrchr(line, ')') : NULL;
            fclose(file);
            if (state && state[2] != 'Z' && state[2] != 'X') {
                kill(pid, SIGKILL);
                found = 1;
            }
        }
        if (folder)
            closedir(folder);
        if (found)
            usleep(200);
    }
}

static void tear(const struct seccomp_notif *note, const struct deed *deed)
{
    char name[64];
    snprintf(name, sizeof name, "/proc/%d/fd/%d", note->pid, (int)note->data.args[0]);
    int fd = open(name, O_WRONLY);
    if (fd >= 0) {
        off_t at = deed->number < 0 ? lseek(fd, 0, SEEK_END) : deed->number;
        if (pwrite(fd, deed->data, deed->size / 2, at) < 0)
            perror("half a write");
        close(fd);
    }
}

/* Return 0 to continue the call, an errno to fail it, or -1 if the process was killed. */
static int decide(const struct seccomp_notif *note, const struct deed *deed)
{
    uint64_t number = ++control->count;
    int chosen = control->kinds >> deed->kind & 1;
    if (control->action == LET || number < control->at || !chosen)
        return 0;
    if (control->hit && control->action != FAIL_ON)
        return 0;
    if (!control->hit)
        control->hit = deed->kind + 1;
    switch (control->action) {
    case KILL_ALL:
        if (control->torn && deed->kind == WRITE && deed->size > 1)
            tear(note, deed);
        kill_session(getsid(note->pid));
        return -1;
    case KILL_ONE:
        kill(note->pid, SIGKILL);
        return -1;
    default:
        return control->error;
    }
}

static void serve(int listener)
{
    static struct deed deed;
    struct seccomp_notif_sizes sizes;
    if (syscall(__NR_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes))
        die("sizes");
    struct seccomp_notif *note = calloc(1, sizes.seccomp_notif + sizeof *note);
    struct seccomp_notif_resp *answer = calloc(1, sizes.seccomp_notif_resp + sizeof *answer);
    for (;;) {
        struct pollfd waits = {listener, POLLIN, 0};
        if (poll(&waits, 1, -1) < 0 && errno == EINTR)
            continue;
        if (!(waits.revents & POLLIN))
            return; /* no process is left */
        memset(note, 0, sizes.seccomp_notif);
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, note))
            continue; /* the process was killed meanwhile */
        int error = 0;
        int ours = understand(note, &deed);
        if (ours == 0)
            error = decide(note, &deed);
        if (ours >= 0 && !error)
            write_journal(&deed);
        free(deed.data);
        if (error < 0)
            continue;
        memset(answer, 0, sizes.seccomp_notif_resp);
        answer->id = note->id;
        answer->error = -error;
        answer->flags = error ? 0 : SECCOMP_USER_NOTIF_FLAG_CONTINUE;
        ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, answer);
    }
}

int main(int count, char **arguments)
{
    if (count < 3)
        return 64;
    int fd = open(arguments[1], O_RDWR | O_CLOEXEC);
    control = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (control == MAP_FAILED)
        die(arguments[1]);
    /* the child shares its listener's number: it cannot send the descriptor, since the filter already applies to it */
    volatile int *number = mmap(NULL, sizeof *number, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t child = fork();
    if (child == 0) {
        *number = install_filter();
        while (*number >= 0)
            ; /* until the parent has copied it; the filter stops no call of this loop */
        execvp(arguments[2], arguments + 2);
        die(arguments[2]);
    }
    while (!*number)
        if (waitpid(child, NULL, WNOHANG))
            return 70;
    int child_fd = syscall(__NR_pidfd_open, child, 0);
    int listener = child_fd < 0 ? -1 : syscall(__NR_pidfd_getfd, child_fd, *number, 0);
    if (listener < 0)
        die("pidfd_getfd");
    *number = -1;
    serve(listener);
    return 0;
}

"""Which functions of libc can make their caller wait, and which of them need no hook, and why.

The one list of them. imports_test.py holds it against the table of hooks and against what
real client libraries import.
"""


def _names(text):
    return frozenset(text.split())


# Each must have a row in src/hooks/table.hpp.
HOOKED = {
    'sockets': _names('''
        accept accept4 connect recv __recv_chk recvfrom __recvfrom_chk recvmsg recvmmsg
        send sendto sendmsg sendmmsg'''),
    'descriptors and files': _names('''
        read __read_chk readv write writev pread pread64 __pread_chk __pread64_chk pwrite pwrite64
        preadv preadv64 preadv2 preadv64v2 pwritev pwritev64 pwritev2 pwritev64v2
        sendfile sendfile64 splice fsync fdatasync
        open open64 __open_2 __open64_2 openat openat64 __openat_2 __openat64_2 creat creat64
        flock lockf lockf64 fcntl fcntl64'''),
    'readiness': _names('''
        poll __poll_chk ppoll __ppoll_chk select pselect epoll_wait epoll_pwait epoll_pwait2'''),
    'users and groups': _names('''
        getpwnam getpwuid getgrnam getgrgid getpwnam_r getpwuid_r getgrnam_r getgrgid_r
        getspnam getspnam_r getgrouplist initgroups'''),
    'time': _names('sleep usleep nanosleep clock_nanosleep thrd_sleep'),
    'names': _names('''
        getaddrinfo getnameinfo gethostbyname gethostbyname2 gethostbyaddr gai_suspend
        res_querydomain res_nquerydomain __res_querydomain __res_nquerydomain
        gethostbyname_r gethostbyname2_r gethostbyaddr_r
        res_query res_search res_send res_nquery res_nsearch res_nsend
        __res_query __res_search __res_send __res_nquery __res_nsearch __res_nsend'''),
    'processes and signals': _names('''
        wait waitpid wait3 wait4 waitid system popen pclose
        pause sigsuspend sigpause __xpg_sigpause __sigpause sigwait sigwaitinfo sigtimedwait'''),
    'what keeps others right, or turns on the spot': _names('''
        sync syncfs sched_yield pthread_spin_lock mtx_trylock pthread_mutex_trylock
        pthread_rwlock_tryrdlock pthread_rwlock_trywrlock pthread_tryjoin_np posix_spawn posix_spawnp
        vfork execl execle execlp execv execve execvp execvpe fexecve execveat'''),
    'messages and other descriptors': _names('''
        msgrcv msgsnd semop semtimedop mq_receive mq_timedreceive mq_send mq_timedsend
        aio_suspend lio_listio copy_file_range vmsplice tee tcdrain tcsendbreak tcsetattr msync'''),
    'threads': _names('''
        pthread_mutex_lock pthread_mutex_timedlock pthread_mutex_clocklock
        pthread_rwlock_rdlock pthread_rwlock_timedrdlock pthread_rwlock_clockrdlock
        pthread_rwlock_wrlock pthread_rwlock_timedwrlock pthread_rwlock_clockwrlock
        pthread_cond_wait pthread_cond_timedwait pthread_cond_clockwait
        pthread_barrier_wait pthread_once pthread_join pthread_timedjoin_np pthread_clockjoin_np
        sem_wait sem_timedwait sem_clockwait syscall __cxa_guard_acquire
        mtx_lock mtx_timedlock cnd_wait cnd_timedwait call_once thrd_join'''),
}

# These can make a caller wait, too, and have no hook.
WITHOUT = {
    'stdio: libc calls itself there, where nothing can come between; clients keep local files by it': _names('''
        fopen fopen64 fdopen freopen freopen64 fclose fflush fread fwrite fgets fputs fgetc fputc
        getc putc getwc putwc ungetwc fseek fseeko fseeko64 rewind getline getdelim __getdelim
        fscanf __isoc99_fscanf fprintf vfprintf __fprintf_chk __vfprintf_chk dprintf __dprintf_chk
        printf __printf_chk puts putchar perror tmpfile tmpfile64 __fgets_chk __fread_chk'''),
    'names of files: a disk at worst, never a peer; by weft::io they are awaited': _names('''
        stat stat64 lstat lstat64 fstat fstat64 fstatat fstatat64 statx __xstat64 __fxstat64 __lxstat64
        access faccessat rename renameat renameat2 unlink unlinkat remove link linkat symlink symlinkat
        readlink readlinkat mkdir mkdirat rmdir mkstemp mkstemp64 mkostemp mkostemp64 mkdtemp
        opendir fdopendir readdir readdir64 closedir scandir scandir64 glob glob64 nftw nftw64 realpath
        __realpath_chk chmod fchmod fchmodat chown fchown lchown utimensat futimens statfs64 fstatfs64
        statvfs truncate truncate64 ftruncate ftruncate64 fallocate posix_fallocate getcwd chdir'''),
    'services, protocols, who is logged in: local files': _names('''
        getlogin
        getservbyname getservbyname_r getservbyport getservbyport_r getservent
        getprotobyname getprotobyname_r getprotobynumber getprotobynumber_r getnetent getnetbyname'''),
    'the kernel answers at once, but for an ioctl of some devices': _names('''
        getifaddrs if_nameindex if_nametoindex if_indextoname ioctl socketpair eventfd dup
        tcgetattr'''),
    'all users and groups, one after the other, by a place that is the process\'s': _names('''
        getpwent getpwent_r getgrent getgrent_r getspent innetgr'''),
    'of a FILE\'s lock the owner is a thread': _names('flockfile'),
    'waits only while the machine starts': _names('getrandom getentropy arc4random arc4random_buf'),
    'reads a program from the disk, under the lock of the dynamic linker': _names('dlopen dlsym dlclose'),
    'a datagram to the machine\'s own logger, inside of libc': _names('syslog vsyslog __syslog_chk __vsyslog_chk openlog'),
    'never waits: the other side of a lock': _names('sem_trywait'),
    'the child runs on its own; until it has its program the parent stands still for microseconds': _names('fork'),
    'starts threads of libc\'s, and waits for none unless GAI_WAIT asks for it': _names('getaddrinfo_a'),
}

# Can make a caller wait, and no client library that we know of imports it. An import of it
# fails the test, which is then the reason to write a hook.
UNSEEN = _names('pidfd_spawn pidfd_spawnp sync_file_range rcmd rexec getpass wordexp')

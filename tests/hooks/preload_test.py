#!/usr/bin/env python3
"""Runs programs that have never heard of weft with and without libweft-hooks preloaded.

    preload_test.py LIBWEFT_HOOKS PATCHED LACKING

They must do the same. PATCHED says what is patched, by WEFT_HOOKS and by the preload. LACKING
hides a function of libc's from the hooks.
"""
import errno
import os
import shutil
import subprocess
import sys

PYTHON = r"""
import os, select, signal, socket, subprocess, sys, tempfile, threading, time
results = []
def client(port, i):
    s = socket.create_connection(('127.0.0.1', port))
    s.sendall(b'%d' % i); results.append(int(s.recv(10))); s.close()
listener = socket.socket(); listener.bind(('127.0.0.1', 0)); listener.listen(50)
threads = [threading.Thread(target=client, args=(listener.getsockname()[1], i)) for i in range(20)]
for t in threads: t.start()
for t in threads:
    c, _ = listener.accept(); c.sendall(c.recv(10)); c.close()
for t in threads: t.join()
print(sorted(results))
print(subprocess.run(['sh', '-c', 'echo out; exit 3'], capture_output=True))
print(subprocess.run(['sort'], input=b'b\na\n', capture_output=True).stdout)
print(os.system('exit 4'), os.popen('echo popen').read())
r, w = os.pipe()
print(select.select([r], [], [], 0.01))
signal.signal(signal.SIGALRM, lambda *a: os.write(w, b'alarm'))
signal.setitimer(signal.ITIMER_REAL, 0.01)
print(os.read(r, 10))
pid = os.fork()
if pid == 0: os._exit(7)
print(os.waitpid(pid, 0)[1])
print(socket.getaddrinfo('127.0.0.1', 80, type=socket.SOCK_STREAM))
with tempfile.TemporaryFile() as f: f.write(b'x' * 100000); f.seek(0); print(len(f.read()))
try: os.read(999, 1)
except OSError as e: print(e)
lock = threading.Condition()
with lock: print(lock.wait(0.01))
"""
COMMANDS = [
    ["ls", "-la", "/etc/passwd", "/nonexistent"],
    ["bash", "-c", "for i in 1 2 3; do echo $i; done | sort -r | tee /dev/stderr; "
                   "trap 'echo term' TERM; kill $$; wait; (exit 5); echo $?; "
                   "sleep 0.01 & wait $!; cat <<< here; exec 3<>/dev/null; head -c 5 /dev/zero | od"],
    ["bash", "-c", "yes | head -n 1; echo ${PIPESTATUS[@]}"],
    ["python3", "-c", PYTHON],
    ["curl", "-s", "file:///etc/passwd"],
    ["curl", "-s", "http://127.0.0.1:9/"],
    ["perl", "-e", "print `echo hi`; open F, '|cat'; print F 'x'; close F; select(undef,undef,undef,0.01)"],
    ["openssl", "dgst", "-sha256", "/etc/passwd"],
    ["xargs", "-P4", "-n1", "-a", "/etc/shells", "true"],
]


def run(command, preload):
    environment = dict(os.environ, LC_ALL="C")
    environment.pop("LD_PRELOAD", None)
    if preload:
        environment["LD_PRELOAD"] = preload
    result = subprocess.run(command, capture_output=True, env=environment, timeout=60,
                            stdin=subprocess.DEVNULL)
    return result.returncode, result.stdout, result.stderr


def patched(program, **variables):
    environment = {name: text for name, text in os.environ.items()
                   if name not in ("WEFT_HOOKS", "LD_PRELOAD")}
    return subprocess.run([program], env=environment | variables, capture_output=True, text=True,
                          check=True).stdout.strip()


def lacking_errors(library, program, lacking):
    """A function that libc lacks fails, and does not look itself up for ever."""
    said = []
    for preload in library, f"{library}:{lacking}":
        result = run([program, "call"], preload)
        said.append(result[1].decode().splitlines()[1:])
    expected = [["0 0"], [f"-1 {errno.ENOSYS}"]]
    return [] if said == expected else [f"lacking: {said}"]


def main(library, program, lacking):
    errors = []
    for command in COMMANDS:
        if not shutil.which(command[0]):
            continue
        plain, hooked = run(command, None), run(command, library)
        if plain != hooked:
            errors.append(f"{command}:\n  {plain}\n  {hooked}")
    every = "patched: socket select time dns file process threads"
    for expected, variables in [
        ("patched:", {}),
        ("patched: socket time", {"WEFT_HOOKS": "time,socket"}),
        ("patched: dns", {"WEFT_HOOKS": "dns,nonsense,,"}),
        ("patched:", {"WEFT_HOOKS": "none"}),
        (every, {"WEFT_HOOKS": "all"}),
        (every, {"LD_PRELOAD": library}),
        ("patched:", {"LD_PRELOAD": library, "WEFT_HOOKS": "none"}),
        ("patched:", {"LD_PRELOAD": library, "WEFT_HOOKS": ""}),
    ]:
        said = patched(program, **variables)
        if said != expected:
            errors.append(f"{variables}: {said}")
    errors += lacking_errors(library, program, lacking)
    if errors:
        sys.exit("\n".join(errors))


if __name__ == "__main__":
    main(*sys.argv[1:])

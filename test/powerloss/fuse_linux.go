package powerloss

import (
	"context"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// mount makes the disk a file system at dir, and returns what unmounts it.
func (d *disk) mount(dir string) (unmount func() error, err error) {
	none := time.Duration(0) // nothing is cached: a cut changes everything
	server, err := fs.Mount(dir, &inode{disk: d, node: d.root}, &fs.Options{
		EntryTimeout: &none, AttrTimeout: &none, NegativeTimeout: &none,
		MountOptions: fuse.MountOptions{DirectMountStrict: true, FsName: "powerloss", Name: "powerloss", MaxWrite: 1 << 20},
	})
	if err != nil {
		return nil, fmt.Errorf("mount a file system of our own, which needs root and /dev/fuse: %w", err)
	}
	return server.Unmount, nil
}

// inode is a node as the kernel asks for it.
type inode struct {
	fs.Inode
	disk *disk
	node *node
}

var (
	_ fs.NodeLookuper  = (*inode)(nil)
	_ fs.NodeReaddirer = (*inode)(nil)
	_ fs.NodeCreater   = (*inode)(nil)
	_ fs.NodeMkdirer   = (*inode)(nil)
	_ fs.NodeUnlinker  = (*inode)(nil)
	_ fs.NodeRmdirer   = (*inode)(nil)
	_ fs.NodeRenamer   = (*inode)(nil)
	_ fs.NodeOpener    = (*inode)(nil)
	_ fs.NodeReader    = (*inode)(nil)
	_ fs.NodeWriter    = (*inode)(nil)
	_ fs.NodeFsyncer   = (*inode)(nil)
	_ fs.NodeGetattrer = (*inode)(nil)
	_ fs.NodeSetattrer = (*inode)(nil)
	_ fs.NodeStatfser  = (*inode)(nil)
)

func (i *inode) attr(out *fuse.Attr) {
	out.Ino, out.Size = i.node.id, uint64(len(i.node.data))
	out.Mode = syscall.S_IFREG | 0o600
	if i.node.dir {
		out.Mode = syscall.S_IFDIR | 0o700
	}
	out.SetTimes(nil, &i.node.modified, &i.node.modified)
}

func (i *inode) child(ctx context.Context, n *node, out *fuse.EntryOut) *fs.Inode {
	c := &inode{disk: i.disk, node: n}
	c.attr(&out.Attr)
	return i.NewInode(ctx, c, fs.StableAttr{Mode: out.Mode & syscall.S_IFMT, Ino: n.id})
}

func (i *inode) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	i.disk.mu.Lock()
	defer i.disk.mu.Unlock()
	n := i.node.names[name]
	if n == nil {
		return nil, syscall.ENOENT
	}
	return i.child(ctx, n, out), 0
}

func (i *inode) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	i.disk.mu.Lock()
	defer i.disk.mu.Unlock()
	var list []fuse.DirEntry
	for name, n := range i.node.names {
		mode := uint32(syscall.S_IFREG)
		if n.dir {
			mode = syscall.S_IFDIR
		}
		list = append(list, fuse.DirEntry{Name: name, Ino: n.id, Mode: mode})
	}
	return fs.NewListDirStream(list), 0
}

func (i *inode) add(ctx context.Context, name string, dir bool, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	i.disk.mu.Lock()
	defer i.disk.mu.Unlock()
	if i.node.names[name] != nil {
		return nil, syscall.EEXIST
	}
	n := i.disk.newNode(dir)
	i.node.names[name] = n
	return i.child(ctx, n, out), 0
}

func (i *inode) Create(ctx context.Context, name string, _, _ uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	c, errno := i.add(ctx, name, false, out)
	return c, nil, fuse.FOPEN_DIRECT_IO, errno
}

func (i *inode) Mkdir(ctx context.Context, name string, _ uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return i.add(ctx, name, true, out)
}

func (i *inode) Unlink(_ context.Context, name string) syscall.Errno {
	i.disk.mu.Lock()
	defer i.disk.mu.Unlock()
	delete(i.node.names, name)
	return 0
}

func (i *inode) Rmdir(_ context.Context, name string) syscall.Errno {
	i.disk.mu.Lock()
	defer i.disk.mu.Unlock()
	if n := i.node.names[name]; n != nil && len(n.names) > 0 {
		return syscall.ENOTEMPTY
	}
	delete(i.node.names, name)
	return 0
}

func (i *inode) Rename(_ context.Context, name string, parent fs.InodeEmbedder, to string, flags uint32) syscall.Errno {
	if flags != 0 {
		return syscall.EINVAL
	}
	i.disk.mu.Lock()
	defer i.disk.mu.Unlock()
	target := parent.(*inode).node
	n := i.node.names[name]
	if n == nil {
		return syscall.ENOENT
	}
	delete(i.node.names, name)
	target.names[to] = n
	return 0
}

func (i *inode) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_DIRECT_IO, 0
}

func (i *inode) Read(_ context.Context, _ fs.FileHandle, p []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	i.disk.mu.Lock()
	defer i.disk.mu.Unlock()
	if off >= int64(len(i.node.data)) {
		return fuse.ReadResultData(nil), 0
	}
	return fuse.ReadResultData(p[:copy(p, i.node.data[off:])]), 0
}

func (i *inode) Write(_ context.Context, _ fs.FileHandle, p []byte, off int64) (uint32, syscall.Errno) {
	i.disk.mu.Lock()
	defer i.disk.mu.Unlock()
	i.node.write(p, off)
	return uint32(len(p)), 0
}

// Fsync takes as long as a disk may, now and then very long: who does not wait for it is found out. What is written meanwhile it does
// not cover.
func (i *inode) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	i.disk.mu.Lock()
	harden := i.node.sync()
	i.disk.mu.Unlock()
	time.Sleep(latency())
	i.disk.mu.Lock()
	defer i.disk.mu.Unlock()
	harden()
	return 0
}

func latency() time.Duration {
	if rand.IntN(20) == 0 {
		return rand.N(50 * time.Millisecond)
	}
	return rand.N(3 * time.Millisecond)
}

func (i *inode) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	i.disk.mu.Lock()
	defer i.disk.mu.Unlock()
	i.attr(&out.Attr)
	return 0
}

func (i *inode) Setattr(_ context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	i.disk.mu.Lock()
	defer i.disk.mu.Unlock()
	if size, ok := in.GetSize(); ok {
		i.node.truncate(int64(size))
	}
	if at, ok := in.GetMTime(); ok {
		i.node.modified = at
	}
	i.attr(&out.Attr)
	return 0
}

// Statfs says that there is room: the broker looks before it takes records.
func (i *inode) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	out.Bsize, out.Frsize, out.NameLen = blockLen, blockLen, 255
	out.Blocks, out.Bfree, out.Bavail = 64<<20, 60<<20, 60<<20 // 256 GiB
	return 0
}

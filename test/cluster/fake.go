package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

// PodState is what FakeKubelet says of a pod. The zero value is a pod whose
// image is being pulled.
type PodState struct {
	// Ready: the pod runs and is Ready.
	Ready bool
	// IP of the pod; empty: one of 10.99.0.0/16 that no other pod of this
	// process has. EndpointSlices refuse 127.0.0.0/8, pods do not.
	IP string
	// Waiting is why its containers do not run (ContainerCreating unless said),
	// such as CrashLoopBackOff or ImagePullBackOff. Not for a Ready pod.
	Waiting string
	// Running: its containers run though it is not Ready.
	Running bool
	// Restarts of each container.
	Restarts int32
	// Terminated is how the last run of each container ended, such as
	// OOMKilled; empty: none ended.
	Terminated string
}

// Running is a pod that is Ready from the first moment.
func Running(*corev1.Pod) PodState { return PodState{Ready: true} }

// Kubelet takes the place of the scheduler and the kubelet for the pods of one
// namespace. Deployments, ReplicaSets and EndpointSlices are the real ones.
type Kubelet struct {
	c     *Cluster
	node  string
	state func(*corev1.Pod) PodState
	pods  cache.SharedIndexInformer
	queue workqueue.TypedRateLimitingInterface[types.NamespacedName]
}

// FakeKubelet binds each pod of a namespace to a node of its own, gives it the
// state that the function says, and removes it when it is deleted. The function
// is asked when a pod changes and on Refresh.
func (c *Cluster) FakeKubelet(t testing.TB, ns string, state func(*corev1.Pod) PodState) *Kubelet {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{GenerateName: "fake-"}}
	node, err := c.Client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	k := &Kubelet{c: c, node: node.Name, state: state, queue: workqueue.NewTypedRateLimitingQueue(
		workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](5*time.Millisecond, time.Second))}
	k.pods = informers.NewSharedInformerFactoryWithOptions(c.Client, 0, informers.WithNamespace(ns)).Core().V1().Pods().Informer()
	enqueue := func(o any) {
		if p, ok := o.(*corev1.Pod); ok {
			k.queue.Add(types.NamespacedName{Namespace: p.Namespace, Name: p.Name})
		}
	}
	if _, err := k.pods.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: enqueue, UpdateFunc: func(_, o any) { enqueue(o) }}); err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() { k.pods.Run(ctx.Done()) })
	for range 4 {
		running.Go(func() { k.work(ctx) })
	}
	t.Cleanup(func() {
		cancel()
		k.queue.ShutDown()
		running.Wait()
		// Pods on a node that is gone are deleted by the controllers.
		_ = c.Client.CoreV1().Nodes().Delete(context.Background(), k.node, metav1.DeleteOptions{})
	})
	if !cache.WaitForCacheSync(ctx.Done(), k.pods.HasSynced) {
		t.Fatal("the fake kubelet's watch did not begin")
	}
	return k
}

// Refresh asks for the state of every pod again.
func (k *Kubelet) Refresh() {
	for _, o := range k.pods.GetStore().List() {
		p := o.(*corev1.Pod)
		k.queue.Add(types.NamespacedName{Namespace: p.Namespace, Name: p.Name})
	}
}

func (k *Kubelet) work(ctx context.Context) {
	for {
		key, quit := k.queue.Get()
		if quit {
			return
		}
		if err := k.sync(ctx, key); err != nil && !apierrors.IsNotFound(err) {
			k.queue.AddRateLimited(key)
		} else {
			k.queue.Forget(key)
		}
		k.queue.Done(key)
	}
}

func (k *Kubelet) sync(ctx context.Context, key types.NamespacedName) error {
	o, ok, err := k.pods.GetStore().GetByKey(key.String())
	if err != nil || !ok {
		return err
	}
	pod := o.(*corev1.Pod)
	pods := k.c.Client.CoreV1().Pods(key.Namespace)
	switch {
	case pod.DeletionTimestamp != nil:
		now := int64(0)
		return pods.Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now, Preconditions: metav1.NewUIDPreconditions(string(pod.UID))})
	case pod.Spec.NodeName == "":
		return pods.Bind(ctx, &corev1.Binding{
			ObjectMeta: metav1.ObjectMeta{Name: pod.Name, UID: pod.UID},
			Target:     corev1.ObjectReference{Kind: "Node", Name: k.node},
		}, metav1.CreateOptions{})
	}
	before, err := json.Marshal(map[string]any{"status": pod.Status})
	if err != nil {
		return err
	}
	after, err := json.Marshal(map[string]any{"status": status(pod, k.state(pod))})
	if err != nil || string(before) == string(after) {
		return err
	}
	_, err = pods.Patch(ctx, pod.Name, types.MergePatchType, after, metav1.PatchOptions{}, "status")
	return err
}

// status is the pod's status in a state; where it says the same as before, it
// is the same.
func status(pod *corev1.Pod, s PodState) corev1.PodStatus {
	st := *pod.Status.DeepCopy()
	st.Phase = corev1.PodPending
	if s.Ready || s.Running || s.Restarts > 0 {
		st.Phase = corev1.PodRunning
	}
	if s.IP == "" && st.PodIP == "" {
		s.IP = nextIP()
	}
	if s.IP != "" {
		st.PodIP, st.PodIPs = s.IP, []corev1.PodIP{{IP: s.IP}}
	}
	if st.StartTime == nil {
		st.StartTime = &pod.CreationTimestamp
	}
	ready := corev1.ConditionFalse
	if s.Ready {
		ready = corev1.ConditionTrue
	}
	for _, kind := range []corev1.PodConditionType{corev1.PodScheduled, corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady} {
		value := corev1.ConditionTrue
		if kind == corev1.ContainersReady || kind == corev1.PodReady {
			value = ready
		}
		setCondition(&st, kind, value)
	}
	st.ContainerStatuses = containers(pod, s)
	return st
}

func setCondition(st *corev1.PodStatus, kind corev1.PodConditionType, value corev1.ConditionStatus) {
	now := metav1.Now().Rfc3339Copy()
	for i := range st.Conditions {
		if c := &st.Conditions[i]; c.Type == kind {
			if c.Status != value {
				c.Status, c.LastTransitionTime = value, now
			}
			return
		}
	}
	st.Conditions = append(st.Conditions, corev1.PodCondition{Type: kind, Status: value, LastTransitionTime: now})
}

func containers(pod *corev1.Pod, s PodState) []corev1.ContainerStatus {
	var all []corev1.ContainerStatus
	for _, c := range pod.Spec.Containers {
		started := s.Ready || s.Running
		cs := corev1.ContainerStatus{
			Name: c.Name, Image: c.Image, ImageID: c.Image, Ready: s.Ready, Started: &started, RestartCount: s.Restarts,
			ContainerID: fmt.Sprintf("fake://%s/%s/%d", pod.UID, c.Name, s.Restarts),
		}
		if started {
			cs.State.Running = &corev1.ContainerStateRunning{StartedAt: pod.CreationTimestamp}
		} else {
			cs.State.Waiting = &corev1.ContainerStateWaiting{Reason: s.Waiting}
			if s.Waiting == "" {
				cs.State.Waiting.Reason = "ContainerCreating"
			}
		}
		if s.Terminated != "" {
			cs.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{
				Reason: s.Terminated, ExitCode: 1, StartedAt: pod.CreationTimestamp, FinishedAt: pod.CreationTimestamp,
			}
		}
		all = append(all, cs)
	}
	return all
}

var addresses struct {
	sync.Mutex
	last netip.Addr
}

func nextIP() string {
	addresses.Lock()
	defer addresses.Unlock()
	if !addresses.last.IsValid() {
		addresses.last = netip.MustParseAddr("10.99.0.0")
	}
	addresses.last = addresses.last.Next()
	return addresses.last.String()
}

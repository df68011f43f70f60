/** Kubelets without processes. */
export { createFakeKubelet, type FakeKubelet, type FakeKubeletOptions, type PodScript } from "./fake-kubelet.ts";

/** Streams of pods over upgraded HTTP connections. */
export { createStreamingHandler } from "./streaming-handler.ts";

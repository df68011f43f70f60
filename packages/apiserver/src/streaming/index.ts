/** Streams of pods over upgraded HTTP connections. */
export {
  createStreamingHandler,
  type StreamingHandler,
  type StreamingHandlerOptions,
  type StreamingRequest,
} from "./streaming-handler.ts";

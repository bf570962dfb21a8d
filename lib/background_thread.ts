/** Imported first by a worker's entry: what it loads after this already gives way to the event loop. */
import { native } from "./native";

native().lowerThreadPriority();

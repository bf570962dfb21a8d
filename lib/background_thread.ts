/** Imported first by a worker's entry, so that loading the other modules already runs at low priority. */
import { native } from "./native";

native().lowerThreadPriority();
